// What a thread is called in top -H, a debugger or /proc/self/task.
#pragma once

#include <pthread.h>

namespace qwill {

// Of the calling thread; at most 15 bytes.
inline void name_thread(const char* name) { ::pthread_setname_np(::pthread_self(), name); }

}  // namespace qwill
