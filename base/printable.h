// Makes text from outside safe to print on a terminal: characters that would move the cursor,
// change colors, send input to the shell or reorder letters become visible escapes.
//
// Names of files, keys, tensors and hosts, and messages of libraries, may contain any bytes. They
// stay unchanged in memory and in JSON, and pass through here when they are printed.
#pragma once

#include <string>
#include <string_view>

namespace syncnorm {

/// Returns `text` with control characters (C0 except line feed and tab, and C1) and bytes that are
/// not UTF-8 as \xNN, and characters that reorder text or separate lines (U+061C, U+200E, U+200F,
/// U+2028 to U+202E, U+2066 to U+2069) as \uNNNN. Idempotent.
std::string printable(std::string_view text);

/// Like printable(), for a name within a line: also escapes line feeds and tabs, as \n and \t.
std::string printable_name(std::string_view name);

}  // namespace syncnorm
