// The files page.html, page.css and page.js, which CMake compiles into the program.
#pragma once

namespace syncnorm::report {

extern const char* const kPageHtml;
extern const char* const kPageCss;
extern const char* const kPageJs;

}  // namespace syncnorm::report
