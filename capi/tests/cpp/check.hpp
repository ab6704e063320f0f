// What the C++ tests share.
#ifndef CHECK_HPP
#define CHECK_HPP

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "unwedge.hpp"

#define CHECK(...)                                                                            \
    do {                                                                                      \
        if (!(__VA_ARGS__)) {                                                                 \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #__VA_ARGS__);    \
            std::exit(1);                                                                     \
        }                                                                                     \
    } while (0)

/// Waits until a report of the domain has this in it, so often.
inline void until_report_has(const unwedge::stop_domain &stop, const std::string &text, int times = 1) {
    for (;;) {
        const std::string report = stop.report().text();
        int found = 0;
        for (std::size_t at = report.find(text); at != std::string::npos; at = report.find(text, at + 1)) ++found;
        if (found >= times) return;
        std::this_thread::yield();
    }
}

#endif
