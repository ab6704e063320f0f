// An exception that leaves a callback goes no further: where the header says that it must not throw, the program ends, as it does for a std::thread's; nothing is
// unwound across the library. (What a phase and the body of a thread may throw: steps.cpp and stops.cpp.)
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>

#include "check.hpp"

namespace {

using std::chrono::seconds;

[[noreturn]] void throws() { throw std::runtime_error("thrown in a callback"); }

/// Runs it in a process of its own, which has to end by std::terminate.
void ends_the_program(void (*callback)()) {
    std::fflush(nullptr);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        std::set_terminate([] { _exit(77); });
        callback();
        _exit(1);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 77);
}

void in_a_thread() {
    unwedge::stop_domain stop("thrown");
    stop.spawn("throws", [] { throws(); });
    stop.shutdown(unwedge::plan(seconds(30)));
}

void in_a_start_hook() {
    unwedge::stop_domain stop("thrown", [](const char *) { throws(); });
    stop.spawn("runs", [] {});
    stop.shutdown(unwedge::plan(seconds(30)));
}

void when_complete() {
    unwedge::stop_domain stop("thrown");
    auto read = unwedge::owe<int>(stop, "read");
    read.owes.complete(1);
    read.result.on_complete(stop, [](unwedge::outcome<int>) { throws(); });
    stop.shutdown(unwedge::plan(seconds(30)));
}

void when_cancelled() {
    unwedge::stop_domain stop("thrown");
    unwedge::io io(stop, UNWEDGE_POOL);
    auto op = io.external<int>("osd_op");
    op.owes.on_cancel([] { throws(); });
    op.result = unwedge::completion<int>();
    { const unwedge::completion<int> dropped(std::move(op.result)); }
    stop.shutdown(unwedge::plan(seconds(30)));
}

}  // namespace

int main() {
    alarm(100);
    ends_the_program(in_a_thread);
    ends_the_program(in_a_start_hook);
    ends_the_program(when_complete);
    ends_the_program(when_cancelled);
    std::printf("thrown: all as it should be\n");
}
