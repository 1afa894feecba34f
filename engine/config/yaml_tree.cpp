// Builds the tree from yaml-cpp's events, not from its nodes: events contain anchors, marks and
// repeated keys, and building can stop at a limit before memory is allocated.
#include "engine/config/yaml_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "engine/config/source_text.h"
#include "engine/config/suggest.h"

namespace syncnorm::config {

namespace {

/// Thrown after a problem that makes the rest of the text meaningless.
struct StopParsing {};

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& text, SourcePointer source, std::string key, Problems& problems)
      : text_(text), source_(std::move(source)), key_(std::move(key)), problems_(problems) {}

  std::optional<ConfigNode> take_root() { return std::move(root_); }
  bool saw_document() const { return saw_document_; }
  Position position(const YAML::Mark& mark) const;
  std::string path() const;

  void OnDocumentStart(const YAML::Mark& mark) override;
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override;
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override;
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override;
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override;
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override;
  void OnMapEnd() override { close(); }

 private:
  /// A map or list that is not closed yet.
  struct Frame {
    ConfigNode node;
    YAML::anchor_t anchor = 0;
    std::size_t nodes_before = 0;  // to count the nodes of an anchor
    int height = 0;                // levels of maps and lists below
    int seen_items = 0;            // list: items so far, including those left out
    bool has_key = false;          // map: a key was read, but not its value
    bool leave_out = false;        // map: the next value is a duplicate
    bool flow = false;             // map: in braces
    std::string key;
    Position key_position;
    std::map<std::string, Position> keys;
  };
  struct Anchored {
    ConfigNode node;
    std::size_t nodes = 0;
    int height = 0;
  };

  bool expects_key() const {
    return !frames_.empty() && frames_.back().node.kind == NodeKind::map && !frames_.back().has_key;
  }
  [[noreturn]] void stop(const Position& where, const std::string& text);
  void count_nodes(std::size_t count, const Position& where);
  bool check_tag(const YAML::Mark& mark, const std::string& tag);
  void open(NodeKind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor);
  void close();
  void take_key(const YAML::Mark& mark, const std::string& key);
  std::size_t value_begin(const YAML::Mark& mark) const;
  bool quotes_are_closed(std::size_t begin) const;
  void remember(YAML::anchor_t anchor, const ConfigNode& node, std::size_t nodes, int height);
  void add_value(ConfigNode node, int height);
  void skip_value();

  const std::string& text_;
  SourcePointer source_;
  std::string key_;
  Problems& problems_;
  std::vector<Frame> frames_;
  std::map<YAML::anchor_t, Anchored> anchors_;
  std::size_t nodes_ = 0;
  bool saw_document_ = false;
  std::optional<ConfigNode> root_;
};

Position TreeBuilder::position(const YAML::Mark& mark) const {
  // The command line is a source without lines.
  if (source_->name == "command line") return {source_, 0, 0};
  return {source_, mark.line + 1, mark.column + 1};
}

/// Returns the dotted path of the next value.
std::string TreeBuilder::path() const {
  std::string path = key_;
  for (const Frame& frame : frames_) {
    if (frame.node.kind == NodeKind::list) {
      path += fmt::format("[{}]", frame.seen_items);
    } else if (frame.has_key) {
      path += (path.empty() ? "" : ".") + frame.key;
    }
  }
  return path;
}

void TreeBuilder::stop(const Position& where, const std::string& text) {
  problems_.add(where, path(), text);
  throw StopParsing{};
}

void TreeBuilder::count_nodes(std::size_t count, const Position& where) {
  nodes_ += count;
  if (nodes_ > kMostNodes) {
    stop(where, fmt::format("the text has more than {} values, with its aliases written out; "
                            "use fewer aliases",
                            kMostNodes));
  }
}

bool TreeBuilder::check_tag(const YAML::Mark& mark, const std::string& tag) {
  if (tag.empty() || tag == "?" || tag == "!") return true;
  problems_.add(position(mark), path(),
                fmt::format("the tag {} is not allowed; remove it", in_quotes(tag)));
  return false;
}

void TreeBuilder::OnDocumentStart(const YAML::Mark& mark) {
  if (saw_document_) {
    problems_.add(position(mark), key_, "a second document begins; keep only one");
    throw StopParsing{};
  }
  saw_document_ = true;
}

void TreeBuilder::OnNull(const YAML::Mark& mark, YAML::anchor_t) {
  if (expects_key()) {
    stop(position(mark), "a key is missing before the colon; write `key: value`");
  }
  if (frames_.empty()) return;  // an empty document: the caller reports it
  const Frame& frame = frames_.back();
  const bool in_map = frame.node.kind == NodeKind::map;
  std::string hint = in_map ? colon_hint(frame.key) : "";
  // `{lr: 0,1}` reads as lr: 0 and a key 1.
  if (in_map && frame.flow && !frame.key.empty() &&
      frame.key.find_first_not_of("0123456789") == std::string::npos)
    hint = "write decimal numbers with a point, such as 0.1";
  if (!frame.leave_out) {
    problems_.add(in_map ? frame.key_position : position(mark), path(),
                  "has no value; " + (hint.empty() ? "give it one, or remove it" : hint));
  }
  skip_value();
}

void TreeBuilder::OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) {
  const Position where = position(mark);
  if (expects_key()) stop(where, "an alias is used as a key; write the key's name");
  const auto found = anchors_.find(anchor);
  if (found == anchors_.end()) {
    // The anchored node is not closed yet, or was left out because of a problem.
    const bool open = std::any_of(frames_.begin(), frames_.end(),
                                  [&](const Frame& frame) { return frame.anchor == anchor; });
    if (open) stop(where, "an alias contains itself; write the value out");
    skip_value();
    return;
  }
  const Anchored& anchored = found->second;
  if (static_cast<int>(frames_.size()) + anchored.height > kDeepestNesting) {
    stop(where, fmt::format("nested deeper than {} levels; flatten it", kDeepestNesting));
  }
  count_nodes(anchored.nodes, where);
  ConfigNode copy = anchored.node;
  copy.position = where;
  add_value(std::move(copy), anchored.height);
}

/// Returns the begin of the value itself: a mark points before the anchor and the tag.
std::size_t TreeBuilder::value_begin(const YAML::Mark& mark) const {
  constexpr const char* kSpaces = " \t\r\n";
  std::size_t at = std::min(static_cast<std::size_t>(std::max(mark.pos, 0)), text_.size());
  while (at < text_.size() && (text_[at] == '&' || text_[at] == '!')) {
    at = text_.find_first_not_of(kSpaces, text_.find_first_of(kSpaces, at));
    at = std::min(at, text_.size());
  }
  return at;
}

/// Returns false for unclosed quotes, which the parser accepts if the text ends after a line's end.
bool TreeBuilder::quotes_are_closed(std::size_t begin) const {
  if (begin == text_.size() || (text_[begin] != '"' && text_[begin] != '\'')) return true;  // block
  const char quote = text_[begin];
  for (std::size_t at = begin + 1; at < text_.size(); ++at) {
    if (quote == '"' && text_[at] == '\\') {
      ++at;
    } else if (text_[at] == quote) {
      const bool doubled = quote == '\'' && at + 1 < text_.size() && text_[at + 1] == quote;
      if (!doubled) return true;
      ++at;
    }
  }
  return false;
}

void TreeBuilder::OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                           const std::string& value) {
  const Position where = position(mark);
  count_nodes(1, where);
  const bool tag_is_good = check_tag(mark, tag);
  const bool plain = tag == "?";
  ConfigNode node{NodeKind::scalar, value, !plain, {}, {}, where};
  if (!plain && !quotes_are_closed(value_begin(mark))) {
    stop(where, fmt::format("the quotes around {} are not closed; close them", in_quotes(value)));
  }
  if (expects_key()) {
    remember(anchor, node, 1, 0);
    take_key(mark, value);
    return;
  }
  if (!tag_is_good) {
    skip_value();
    return;
  }
  // A plain value has no escapes, so it differs from its text only if lines were joined, nearly
  // always because a line lacks the space after its colon.
  if (plain && text_.compare(value_begin(mark), value.size(), value) != 0) {
    const std::string hint = colon_hint(value);
    problems_.add(where, path(),
                  fmt::format("the value {} runs over several lines; {}", in_quotes(value),
                              hint.empty() ? "write it on one line, or in quotes" : hint));
    skip_value();
    return;
  }
  remember(anchor, node, 1, 0);
  add_value(std::move(node), 0);
}

void TreeBuilder::take_key(const YAML::Mark& mark, const std::string& key) {
  Frame& frame = frames_.back();
  const auto [first, is_new] = frame.keys.emplace(key, position(mark));
  frame.has_key = true;
  frame.leave_out = !is_new;
  frame.key = key;
  frame.key_position = position(mark);
  if (!is_new) {
    const bool has_lines = first->second.line > 0;
    problems_.add(frame.key_position, path(),
                  has_lines
                      ? fmt::format("duplicate key, first at {}; remove one", first->second.text())
                      : "duplicate key; remove one");
  } else if (key == "<<") {
    problems_.add(frame.key_position, path(),
                  "merge keys are not supported; use `_base_: FILE` or write the keys out");
    frame.leave_out = true;
  }
}

void TreeBuilder::OnSequenceStart(const YAML::Mark& mark, const std::string& tag,
                                  YAML::anchor_t anchor, YAML::EmitterStyle::value) {
  open(NodeKind::list, mark, tag, anchor);
}

void TreeBuilder::OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                             YAML::EmitterStyle::value style) {
  open(NodeKind::map, mark, tag, anchor);
  frames_.back().flow = style == YAML::EmitterStyle::Flow;
}

void TreeBuilder::open(NodeKind kind, const YAML::Mark& mark, const std::string& tag,
                       YAML::anchor_t anchor) {
  const Position where = position(mark);
  if (expects_key()) {
    stop(where, fmt::format("a {} is used as a key; write a name, or close the bracket",
                            kind == NodeKind::map ? "map" : "list"));
  }
  if (static_cast<int>(frames_.size()) >= kDeepestNesting) {
    // Reports without the path, which would be as deep as the nesting.
    problems_.add(where, key_,
                  fmt::format("nested deeper than {} levels; flatten it", kDeepestNesting));
    throw StopParsing{};
  }
  check_tag(mark, tag);
  Frame frame;
  frame.node.kind = kind;
  frame.node.position = where;
  frame.anchor = anchor;
  frame.nodes_before = nodes_;
  count_nodes(1, where);
  frames_.push_back(std::move(frame));
}

void TreeBuilder::close() {
  Frame frame = std::move(frames_.back());
  frames_.pop_back();
  remember(frame.anchor, frame.node, nodes_ - frame.nodes_before, frame.height + 1);
  add_value(std::move(frame.node), frame.height + 1);
}

void TreeBuilder::remember(YAML::anchor_t anchor, const ConfigNode& node, std::size_t nodes,
                           int height) {
  if (anchor == 0) return;
  count_nodes(nodes, node.position);  // the stored copy counts, too
  anchors_[anchor] = {node, nodes, height};
}

void TreeBuilder::add_value(ConfigNode node, int height) {
  if (frames_.empty()) {
    root_ = std::move(node);
    return;
  }
  Frame& frame = frames_.back();
  frame.height = std::max(frame.height, height);
  if (frame.node.kind == NodeKind::list) {
    frame.node.items.push_back(std::move(node));
  } else if (!frame.leave_out) {
    frame.node.entries.push_back({frame.key, frame.key_position, std::move(node)});
  }
  skip_value();
}

void TreeBuilder::skip_value() {
  if (frames_.empty()) return;
  Frame& frame = frames_.back();
  ++frame.seen_items;
  frame.has_key = false;
  frame.leave_out = false;
}

/// Returns line number `line` (0-based) and the one before it, which often causes a syntax error.
std::string lines_up_to(const std::string& text, int line) {
  std::istringstream lines(text);
  std::string previous;
  std::string current;
  for (int i = 0; i <= line && std::getline(lines, current); ++i) {
    if (i < line) previous = current;
  }
  return previous + "\n" + current;
}

}  // namespace

const ConfigEntry* ConfigNode::find(std::string_view key) const {
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const ConfigEntry& entry) { return entry.key == key; });
  return found == entries.end() ? nullptr : &*found;
}

std::optional<ConfigNode> parse_yaml(const std::string& text, const SourcePointer& source,
                                     const std::string& key, Problems& problems) {
  const std::optional<std::string> checked = check_text(text, source, key, problems);
  if (!checked) return std::nullopt;
  TreeBuilder builder(*checked, source, key, problems);
  try {
    std::istringstream stream(*checked);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const StopParsing&) {
    return std::nullopt;
  } catch (const YAML::Exception& error) {
    const std::string lines = lines_up_to(*checked, error.mark.line);
    const std::string colon = colon_hint(lines);
    const std::string hint = !colon.empty() ? colon
                             : lines.find('\t') != std::string::npos
                                 ? "indent with spaces, not tabs"
                                 : "check indentation, quotes and brackets";
    problems.add(builder.position(error.mark), key,
                 fmt::format("not valid YAML, {}; {}", error.msg, hint));
    return std::nullopt;
  }
  return builder.take_root();
}

std::string scalar_text(std::string_view text) {
  constexpr std::string_view kWords[] = {"null", "true", "false", "yes", "no",
                                         "on",   "off",  "y",     "n"};
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '/' || c == '-';
  };
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), is_plain) &&
                     ((lower[0] >= 'a' && lower[0] <= 'z') || text[0] == '/') &&
                     std::find(std::begin(kWords), std::end(kWords), lower) == std::end(kWords);
  if (plain) return std::string(text);
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7F) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string flow_text(const ConfigNode& node) {
  std::vector<std::string> parts;
  switch (node.kind) {
    case NodeKind::scalar:
      return node.quoted ? scalar_text(node.text) : node.text;
    case NodeKind::list:
      for (const ConfigNode& item : node.items) parts.push_back(flow_text(item));
      return fmt::format("[{}]", fmt::join(parts, ", "));
    case NodeKind::map:
      for (const ConfigEntry& entry : node.entries) {
        parts.push_back(entry.key + ": " + flow_text(entry.value));
      }
      return fmt::format("{{{}}}", fmt::join(parts, ", "));
  }
  return "";
}

}  // namespace syncnorm::config
