// A named mutex and managed shared memory of Boost.Interprocess: works on them until it is killed, or looks at what is left.
#include <boost/date_time/posix_time/posix_time_types.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/named_mutex.hpp>

#include <chrono>
#include <cstring>
#include <string>
#include <unistd.h>

namespace bi = boost::interprocess;

static void ready() {
    (void)!write(1, "r", 1);
}

// Whoever looks ends with 0 (well), 1 (stuck) or 2 (wrong).
int main(int, char **arguments) {
    const std::string what = arguments[1], who = arguments[2], name = arguments[3];
    const bool looks = who == "look";
    if (what == "mutex") {
        bi::named_mutex mutex(bi::open_or_create, name.c_str());
        if (!looks) {
            ready();
            for (;;) {
                mutex.lock();
                mutex.unlock();
            }
        }
        const auto until = boost::posix_time::microsec_clock::universal_time() + boost::posix_time::milliseconds(150);
        const bool had = mutex.timed_lock(until);
        bi::named_mutex::remove(name.c_str());
        return had ? 0 : 1;
    }
    bi::managed_shared_memory memory(bi::open_or_create, name.c_str(), 65536);
    if (!looks) {
        ready();
        for (;;) {
            memory.construct<long>("value")(7);
            memory.destroy<long>("value");
        }
    }
    // Takes the memory's lock: the laboratory ends it if it does not come to its end.
    const bool sane = memory.check_sanity();
    memory.find_or_construct<long>("value")(7);
    bi::shared_memory_object::remove(name.c_str());
    return sane ? 0 : 2;
}
