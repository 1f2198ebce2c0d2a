// Static trace points: places where perf, bpftrace and SystemTap can look on from outside.
//
//   COW_TRACE(commit__end, generation, frames, microseconds);
//
// Each is one instruction that does nothing until a tracer puts a breakpoint in its place, and a
// note in the binary that says where, and where its arguments are (compare DTrace's "user-level
// statically defined tracing"). So arguments are what is at hand anyway: integers, never computed
// for this alone. All that there are stand in cow/README.md, which a test compares with the binary.
//
// Where the header of systemtap-sdt-dev was missing at build time there are none.
#pragma once

#ifdef COW_HAS_SDT
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define COW_TRACE(name, ...) STAP_PROBEV(cow, name __VA_OPT__(, ) __VA_ARGS__)
#else
#define COW_TRACE(name, ...) static_cast<void>(0)
#endif
