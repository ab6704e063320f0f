// A small metadata server with Ceph's waits: C_SaferCond, a mutex, joins. With frozen storage it does not stop.
#include "common.hpp"

/// Ceph's: a context on the waiter's stack, without a way out.
class C_SaferCond : public Context {
public:
    int wait() {
        std::unique_lock<std::mutex> guard(lock_);
        cond_.wait(guard, [this] { return done_; });
        return result_;
    }
    void complete(int r) override { finish(r); }

protected:
    void finish(int r) override {
        std::lock_guard<std::mutex> guard(lock_);
        done_ = true;
        result_ = r;
        cond_.notify_all();
    }

private:
    std::mutex lock_;
    std::condition_variable cond_;
    bool done_ = false;
    int result_ = 0;
};

/// Calls contexts on a thread of its own.
class Finisher {
public:
    void start() {
        thread_ = std::thread([this] { serve(); });
    }
    void queue(Context *context, int r) {
        std::lock_guard<std::mutex> guard(lock_);
        queue_.push_back(std::make_pair(context, r));
        cond_.notify_one();
    }
    void stop() {
        {
            std::lock_guard<std::mutex> guard(lock_);
            stopping_ = true;
            cond_.notify_one();
        }
        thread_.join();
    }

private:
    void serve() {
        std::unique_lock<std::mutex> guard(lock_);
        for (;;) {
            cond_.wait(guard, [this] { return stopping_ || !queue_.empty(); });
            if (queue_.empty()) return;
            std::pair<Context *, int> next = queue_.front();
            queue_.pop_front();
            guard.unlock();
            next.first->complete(next.second);
            guard.lock();
        }
    }
    std::mutex lock_;
    std::condition_variable cond_;
    std::deque<std::pair<Context *, int>> queue_;
    bool stopping_ = false;
    std::thread thread_;
};

class MDS {
public:
    explicit MDS(store &objects) : objects_(objects) {}

    /// Loads the tables, in a recovery thread.
    void boot() {
        finisher_.start();
        std::thread recovery([this] {
            const bufferlist inotable = load("mds0_inotable");
            const bufferlist sessions = load("mds0_sessionmap");
            std::lock_guard<std::mutex> mds(mds_lock_);
            tables_ = {inotable, sessions};
        });
        recovery.join();
    }
    /// The journal is read, one object after the other.
    void begin_replay() {
        replay_ = std::thread([this] {
            for (int object = 0;; ++object) {
                const bufferlist entries = load("200." + std::to_string(object));
                std::lock_guard<std::mutex> mds(mds_lock_);
                replayed_.push_back(entries);
            }
        });
    }
    /// A directory is read ahead; the finisher puts it into the cache, under the big lock.
    void begin_prefetch() {
        bufferlist *fragment = new bufferlist;
        objects_.read("1.00000000", fragment, new LambdaContext([this, fragment](int r) {
            finisher_.queue(new LambdaContext([this, fragment](int read) {
                std::lock_guard<std::mutex> mds(mds_lock_);
                if (read == 0) cache_["1.00000000"] = *fragment;
                delete fragment;
            }), r);
        }));
    }
    /// `flush journal` on the admin socket.
    void begin_flush() {
        hook_running_ = true;
        admin_ = std::thread([this] {
            const bufferlist header = load("200.00000000");
            std::lock_guard<std::mutex> mds(mds_lock_);
            replayed_.push_back(header);
            hook_running_ = false;
            hook_done_.notify_all();
        });
    }
    void stop() {
        std::unique_lock<std::mutex> mds(mds_lock_);
        // Unregisters the hook: waits for one that runs.
        std::unique_lock<std::mutex> hooks(hook_lock_);
        while (hook_running_) hook_done_.wait(hooks);
        hooks.unlock();
        mds.unlock();
        if (replay_.joinable()) replay_.join();
        mds.lock();
        objects_.shutdown();
        finisher_.stop();
        mds.unlock();
        if (admin_.joinable()) admin_.join();
    }

private:
    bufferlist load(const std::string &object) {
        bufferlist into;
        C_SaferCond done;
        objects_.read(object, &into, &done);
        if (done.wait() < 0) return bufferlist();
        return into;
    }

    store &objects_;
    Finisher finisher_;
    std::mutex mds_lock_;
    std::vector<bufferlist> tables_, replayed_;
    std::map<std::string, bufferlist> cache_;
    std::mutex hook_lock_;
    std::condition_variable hook_done_;
    bool hook_running_ = false;
    std::thread replay_, admin_;
};

int main(int argc, char **argv) { return drill<MDS>(argc, argv); }
