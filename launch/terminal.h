// Properties of the terminal on standard output.
#pragma once

namespace syncnorm {

/// Returns true when standard output is a terminal that can redraw a line: one whose TERM is set
/// and not "dumb". Under mpirun, which gives every rank its own terminal, SYNCNORM_TERMINAL must
/// also be set: only launch/run knows whether there is a real terminal.
bool can_redraw();

/// Returns true when the descriptor is a terminal whose locale is not UTF-8.
bool shows_ascii_only(int descriptor);

/// Returns the terminal's current width in columns: the smaller of what the terminal and COLUMNS
/// say, or a large number when neither says anything.
int terminal_columns();

}  // namespace syncnorm
