// Overlap in the forward pass: instructions that do not depend on a statistics reduction run before
// its wait.
//
// In a residual block this is the convolution of the projection shortcut, which runs under the
// first norm's reduction; with parallel branches it is the other branch, up to its own next
// reduction. Weights needed before the next reduction are packed here, too.
#include <algorithm>
#include <set>

#include "engine/program/passes.h"

namespace syncnorm {
namespace {

class Overlap {
 public:
  explicit Overlap(Program& program) : program_(program), list_(program.instructions) {}

  void run() {
    std::set<int> started;
    for (std::size_t i = 0; i < list_.size(); ++i) {
      if (list_[i].kind == InstructionKind::reduce_start) started.insert(list_[i].reduction);
      if (list_[i].kind == InstructionKind::reduce_wait) i += hoist(i, started);
    }
  }

 private:
  /// Returns the tensor of which `tensor` is a view, or itself.
  int whole(int tensor) const {
    const int w = program_.tensors[static_cast<std::size_t>(tensor)].whole;
    return w < 0 ? tensor : w;
  }

  /// Returns true if argument `a` is read, be it only to be changed.
  static bool reads(const Instruction& instruction, std::size_t a) {
    if (a < static_cast<std::size_t>(instruction.first_output)) return true;
    return instruction.kind == InstructionKind::compute &&
           operands(instruction.op)[a].access == Access::in_out;
  }

  bool reads_any(const Instruction& instruction, const std::set<int>& tensors) const {
    for (std::size_t a = 0; a < instruction.args.size(); ++a)
      if (instruction.args[a] >= 0 && reads(instruction, a) &&
          tensors.contains(whole(instruction.args[a])))
        return true;
    return false;
  }

  void add_inputs(const Instruction& instruction, std::set<int>& tensors) const {
    for (std::size_t a = 0; a < instruction.args.size(); ++a)
      if (instruction.args[a] >= 0 && reads(instruction, a))
        tensors.insert(whole(instruction.args[a]));
  }

  bool writes_any(const Instruction& instruction, const std::set<int>& tensors) const {
    std::set<int> outputs;
    add_outputs(instruction, outputs);
    return std::any_of(outputs.begin(), outputs.end(), [&](int t) { return tensors.contains(t); });
  }

  void add_outputs(const Instruction& instruction, std::set<int>& tensors) const {
    for (std::size_t a = static_cast<std::size_t>(instruction.first_output);
         a < instruction.args.size(); ++a)
      if (instruction.args[a] >= 0) tensors.insert(whole(instruction.args[a]));
  }

  /// Moves independent instructions before the wait at `at`, up to one start of another reduction.
  /// Returns their number.
  std::size_t hoist(std::size_t at, std::set<int>& started) {
    std::set<int> blocked, read;
    add_outputs(list_[at], blocked);
    std::vector<std::size_t> moved, packs;
    bool far = false;  // past the next reduction
    for (std::size_t k = at + 1; k < list_.size(); ++k) {
      const Instruction& instruction = list_[k];
      const bool start = instruction.kind == InstructionKind::reduce_start;
      if (reads_any(instruction, blocked) || (instruction.kind == InstructionKind::reduce_wait &&
                                              !started.contains(instruction.reduction))) {
        add_outputs(instruction, blocked);
        far = far || start;
        continue;
      }
      if (instruction.pass == Pass::prepare && far) {
        packs.push_back(k);  // moves only together with its reader
        continue;
      }
      moved.push_back(k);
      add_inputs(instruction, read);
      if (!start) continue;
      started.insert(instruction.reduction);
      break;
    }
    for (const std::size_t k : packs)
      if (writes_any(list_[k], read)) moved.push_back(k);
    std::sort(moved.begin(), moved.end());
    std::vector<Instruction> ordered;
    for (const std::size_t k : moved) ordered.push_back(std::move(list_[k]));
    for (std::size_t m = moved.size(); m-- > 0;)
      list_.erase(list_.begin() + static_cast<long>(moved[m]));
    list_.insert(list_.begin() + static_cast<long>(at), std::make_move_iterator(ordered.begin()),
                 std::make_move_iterator(ordered.end()));
    return moved.size();
  }

  Program& program_;
  std::vector<Instruction>& list_;
};

}  // namespace

void overlap_forward(Program& program) { Overlap(program).run(); }

}  // namespace syncnorm
