// What standard output is, for those who draw on it.
#pragma once

namespace syncnorm {

/// Whether standard output is a terminal that can redraw a line: one with a TERM that is not
/// "dumb". mpirun gives every rank a terminal of its own; only launch/run knows whether there is a
/// real one, and says so by SYNCNORM_TERMINAL.
bool can_redraw();

/// Whether a descriptor is a terminal whose locale is not UTF-8.
bool shows_ascii_only(int descriptor);

/// Columns of the terminal now: the smaller of what it says itself and what COLUMNS says; many
/// when neither does.
int terminal_columns();

}  // namespace syncnorm
