// The files page.html, page.css and page.js, made part of the program by CMake.
#pragma once

namespace syncnorm::report {

extern const char* const kPageHtml;
extern const char* const kPageCss;
extern const char* const kPageJs;

}  // namespace syncnorm::report
