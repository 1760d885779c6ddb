/* The emulator's memory: device allocations in one region that the host can touch only while work
 * runs, and pinned host allocations.
 *
 * Every block of device memory has pages of its own and lies between guards: poisoned under
 * AddressSanitizer, else filled with a pattern that is checked whenever work has run. New memory is
 * 0xFF: NaN in float32 and bf16, so that a read of what was never written shows. Freed memory stays
 * out of reach, and its addresses out of use for a while. */
#include "state.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#else
#define WITH_ASAN 0
#define ASAN_POISON_MEMORY_REGION(data, bytes) ((void)(data), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(data, bytes) ((void)(data), (void)(bytes))
#endif

namespace emulator {
namespace {

constexpr size_t region_bytes = size_t(64) << 30; /* of addresses; memory comes as it is touched */
constexpr size_t guard_bytes = 256, page = 4096;
constexpr size_t quarantine_bytes = size_t(128) << 20;
constexpr unsigned char guard_pattern = 0xA5, fresh_pattern = 0xFF;

struct block {
    size_t bytes; /* as asked for */
    size_t size;  /* with guards */
    int device;
};

char *region, *top; /* top: the end of what was ever used */
int sessions;       /* device_session and device_access objects */
bool open, always_open;
std::map<char *, block> blocks;                   /* by the address given out */
std::map<char *, size_t> holes;                   /* free to be used again, by start */
std::deque<std::pair<char *, size_t>> quarantine; /* freed not long ago */
size_t quarantined;
std::map<char *, size_t> pinned_blocks;

size_t rounded(size_t bytes, size_t unit) {
    return (bytes + unit - 1) / unit * unit;
}

void protect(char *begin, size_t bytes, int protection) {
    if (mprotect(begin, bytes, protection) != 0) {
        perror("emulator: mprotect");
        abort();
    }
}

/* Opens or closes every block, neighbours at once. */
void protect_all(int protection) {
    char *begin = nullptr, *end = nullptr;
    for (auto &entry : blocks) {
        char *start = entry.first - guard_bytes;
        if (start != end) {
            if (begin)
                protect(begin, size_t(end - begin), protection);
            begin = start;
        }
        end = start + entry.second.size;
    }
    if (begin)
        protect(begin, size_t(end - begin), protection);
    open = protection != PROT_NONE;
}

char *take(size_t size) {
    for (auto hole = holes.begin(); hole != holes.end(); ++hole)
        if (hole->second >= size) {
            char *start = hole->first;
            size_t rest = hole->second - size;
            holes.erase(hole);
            if (rest)
                holes[start + size] = rest;
            return start;
        }
    if (!region) {
        void *map = mmap(nullptr, region_bytes, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (map == MAP_FAILED) {
            perror("emulator: mmap");
            abort();
        }
        region = top = static_cast<char *>(map);
    }
    if (size_t(region + region_bytes - top) < size)
        return nullptr;
    char *start = top;
    top += size;
    return start;
}

void give(char *start, size_t size) {
    auto next = holes.lower_bound(start);
    if (next != holes.end() && start + size == next->first) {
        size += next->second;
        next = holes.erase(next);
    }
    if (next != holes.begin()) {
        auto before = std::prev(next);
        if (before->first + before->second == start) {
            before->second += size;
            return;
        }
    }
    holes[start] = size;
}

/* The bytes around what was asked for. */
template <typename function> void each_guard(char *data, const block &of, function visit) {
    visit(data - guard_bytes, guard_bytes);
    visit(data + of.bytes, of.size - guard_bytes - of.bytes);
}

void check_guard(char *data, const block &of, const char *what) {
    each_guard(data, of, [&](char *start, size_t bytes) {
        for (size_t i = 0; i < bytes; i++)
            if (static_cast<unsigned char>(start[i]) != guard_pattern)
                misuse(what, start < data ? "something wrote before the start of device memory"
                                          : "something wrote past the end of device memory");
    });
}

template <typename map> auto containing(map &from, const void *data) {
    auto at = from.upper_bound(static_cast<char *>(const_cast<void *>(data)));
    return at == from.begin() ? from.end() : std::prev(at);
}

} // namespace

device_session::device_session() {
    sessions++;
}

device_session::~device_session() {
    if (--sessions == 0 && open && !always_open)
        protect_all(PROT_NONE);
}

device_access::device_access() {
    if (!open)
        protect_all(PROT_READ | PROT_WRITE);
}

block_access::block_access(const void *data) : start(nullptr), size(0) {
    auto at = containing(blocks, data);
    if (open || !on_device(data) || at == blocks.end())
        return;
    start = at->first - guard_bytes;
    size = at->second.size;
    protect(start, size, PROT_READ | PROT_WRITE);
}

block_access::~block_access() {
    if (start)
        protect(start, size, PROT_NONE);
}

void *allocate(size_t bytes, int device) {
    size_t size = rounded(guard_bytes + bytes + guard_bytes, page);
    char *start = take(size);
    if (!start)
        return nullptr;
    char *data = start + guard_bytes;
    block made = {bytes, size, device};
    protect(start, size, PROT_READ | PROT_WRITE);
    ASAN_UNPOISON_MEMORY_REGION(start, size);
    memset(data, fresh_pattern, bytes);
    each_guard(data, made, [](char *at, size_t count) {
        if (!WITH_ASAN)
            memset(at, guard_pattern, count);
        ASAN_POISON_MEMORY_REGION(at, count);
    });
    if (!open)
        protect(start, size, PROT_NONE);
    blocks[data] = made;
    live.allocations++;
    live.bytes += bytes;
    return data;
}

bool release(void *data) {
    auto found = blocks.find(static_cast<char *>(data));
    if (found == blocks.end())
        return false;
    block old = found->second;
    char *start = found->first - guard_bytes;
    if (!WITH_ASAN) {
        block_access window(data);
        check_guard(found->first, old, "cudaFree");
    }
    ASAN_POISON_MEMORY_REGION(start, old.size);
    protect(start, old.size, PROT_NONE);
    madvise(start, old.size, MADV_DONTNEED);
    blocks.erase(found);
    live.allocations--;
    live.bytes -= old.bytes;
    quarantine.emplace_back(start, old.size);
    for (quarantined += old.size; quarantined > quarantine_bytes; quarantine.pop_front()) {
        give(quarantine.front().first, quarantine.front().second);
        quarantined -= quarantine.front().second;
    }
    return true;
}

void check_guards(const char *what) {
    if (!WITH_ASAN && open)
        for (auto &entry : blocks)
            check_guard(entry.first, entry.second, what);
}

bool on_device(const void *data) {
    const char *at = static_cast<const char *>(data);
    return region && at >= region && at < region + region_bytes;
}

size_t used(int device) {
    size_t sum = 0;
    for (auto &entry : blocks)
        if (entry.second.device == device)
            sum += rounded(entry.second.bytes, 512);
    return sum;
}

void *allocate_pinned(size_t bytes) {
    void *data = nullptr;
    if (posix_memalign(&data, page, bytes) != 0)
        return nullptr;
    memset(data, fresh_pattern, bytes);
    pinned_blocks[static_cast<char *>(data)] = bytes;
    live.pinned++;
    return data;
}

bool release_pinned(void *data) {
    if (!pinned_blocks.erase(static_cast<char *>(data)))
        return false;
    free(data);
    live.pinned--;
    return true;
}

bool pinned(const void *data) {
    auto at = containing(pinned_blocks, data);
    return at != pinned_blocks.end() && static_cast<const char *>(data) < at->first + at->second;
}

bool reachable(const void *data, size_t bytes) {
    guard hold(mutex);
    const char *begin = static_cast<const char *>(data);
    auto fits = [&](char *start, size_t size) {
        return begin <= start + size && bytes <= size_t(start + size - begin);
    };
    if (on_device(data)) {
        auto at = containing(blocks, data);
        return at != blocks.end() && fits(at->first, at->second.bytes);
    }
    auto at = containing(pinned_blocks, data);
    return at != pinned_blocks.end() && fits(at->first, at->second);
}

} // namespace emulator

void emulator_open_memory(bool always) {
    using namespace emulator;
    guard hold(mutex);
    always_open = always;
    if (sessions == 0)
        protect_all(always ? PROT_READ | PROT_WRITE : PROT_NONE);
}
