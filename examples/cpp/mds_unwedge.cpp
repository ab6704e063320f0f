// The same metadata server with unwedge's waits. With frozen storage it stops in milliseconds.
#include <unwedge.hpp>

#include "common.hpp"

/// In the place of C_SaferCond: a context on the heap that owns the buffer, and gives it to the completion.
class C_Load : public Context {
public:
    explicit C_Load(unwedge::completer<bufferlist> owes) : owes_(std::move(owes)) {}
    bufferlist into;

protected:
    void finish(int r) override {
        if (r < 0) owes_.fail(r);
        else owes_.complete(std::move(into));
    }

private:
    unwedge::completer<bufferlist> owes_;
};

/// Calls contexts on a thread of its own.
class Finisher {
public:
    void start(const unwedge::stop_domain &stop) {
        stop.spawn("finisher", [this, &stop] { serve(stop); });
    }
    void queue(Context *context, int r) {
        std::lock_guard<std::mutex> guard(lock_);
        queue_.push_back(std::make_pair(context, r));
        cond_.notify_one();
    }
    ~Finisher() {
        for (std::pair<Context *, int> &left : queue_) left.first->complete(-ESHUTDOWN);
    }

private:
    void serve(const unwedge::stop_domain &stop) {
        std::unique_lock<std::mutex> guard(lock_);
        for (;;) {
            cond_.wait(stop, guard, [this] { return !queue_.empty(); });
            std::pair<Context *, int> next = queue_.front();
            queue_.pop_front();
            guard.unlock();
            next.first->complete(next.second);
            guard.lock();
        }
    }
    std::mutex lock_;
    unwedge::condition_variable_any cond_;
    std::deque<std::pair<Context *, int>> queue_;
};

struct state {
    std::vector<bufferlist> tables, replayed;
    std::map<std::string, bufferlist> cache;
};

class MDS {
public:
    explicit MDS(store &objects) : objects_(objects), stop_("mds.a"), mds_lock_(stop_, "mds_lock") {}

    /// Loads the tables, in a recovery thread.
    void boot() {
        finisher_.start(stop_);
        unwedge::owed<void> recovered = unwedge::owe<void>(stop_, "recovery");
        stop_.spawn("recovery", [this, &recovered] {
            const bufferlist inotable = load("mds0_inotable");
            const bufferlist sessions = load("mds0_sessionmap");
            mds_lock_.lock()->tables = {inotable, sessions};
            recovered.owes.complete();
        });
        recovered.result.wait();
    }
    /// The journal is read, one object after the other.
    void begin_replay() {
        stop_.spawn("replay", [this] {
            for (int object = 0;; ++object) {
                const bufferlist entries = load("200." + std::to_string(object));
                mds_lock_.lock()->replayed.push_back(entries);
            }
        });
    }
    /// A directory is read ahead; the finisher puts it into the cache, under the big lock.
    void begin_prefetch() {
        bufferlist *fragment = new bufferlist;
        objects_.read("1.00000000", fragment, new LambdaContext([this, fragment](int r) {
            finisher_.queue(new LambdaContext([this, fragment](int read) {
                mds_guard mds = mds_lock_.lock(std::nothrow);
                if (mds && read == 0) mds->cache["1.00000000"] = *fragment;
                delete fragment;
            }), r);
        }));
    }
    /// `flush journal` on the admin socket.
    void begin_flush() {
        stop_.spawn("admin", [this] {
            const bufferlist header = load("200.00000000");
            mds_lock_.lock()->replayed.push_back(header);
        });
    }
    void stop() {
        mds_guard mds = mds_lock_.lock();
        stop_.request("SIGTERM");
        // The storage is shut down when nobody waits for it any more: a read that fails is an error to who asked for it, and no stop.
        unwedge::plan plan = unwedge::plan(std::chrono::seconds(1))
                                 .phase("storage", std::chrono::seconds(1), [this](const unwedge::stop_domain &) { objects_.shutdown(); });
        const unwedge::report report = unwedge::shutdown_holding(stop_, std::move(mds), std::move(plan));
        std::printf("%s\n", report.text().c_str());
        // Whoever is left would find a daemon that is gone.
        if (!report.is_clean()) std::_Exit(1);
    }

private:
    typedef unwedge::monitor<state>::guard mds_guard;

    bufferlist load(const std::string &object) {
        unwedge::owed<bufferlist> both = unwedge::owe<bufferlist>(stop_, "read");
        C_Load *done = new C_Load(std::move(both.owes));
        objects_.read(object, &done->into, done);
        return both.result.wait();
    }

    store &objects_;
    unwedge::stop_domain stop_;
    unwedge::monitor<state> mds_lock_;
    Finisher finisher_;  // its last callbacks need the lock
};

int main(int argc, char **argv) { return drill<MDS>(argc, argv); }
