// Text from outside, made fit for a terminal: what would move the cursor, change colors, type at
// the shell or reorder letters is shown as an escape instead.
//
// Names of files, keys, tensors and hosts, and the messages of libraries, may hold any bytes. They
// stay as they are in memory and in JSON; they pass through here where they are printed.
#pragma once

#include <string>
#include <string_view>

namespace syncnorm {

/// `text` with control characters (all but line feed and tab; C1 as well) and bytes that are no
/// UTF-8 as \xNN, and what reorders or separates lines (U+061C, U+200E, U+200F, U+2028 to U+202E,
/// U+2066 to U+2069) as \uNNNN. What it returns it leaves unchanged.
std::string printable(std::string_view text);

/// The same for a name within a line: line feeds and tabs too, as \n and \t.
std::string printable_name(std::string_view name);

}  // namespace syncnorm
