// How heads and snapshots are written.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cow/control/message.h"
#include "tools/cowctl/output.h"
#include "tools/cowctl/target.h"

namespace cow::ctl {

using Json = nlohmann::ordered_json;

// PATH or PATH@NAME, as cowctl takes it.
std::string NameOf(const Target& target, const control::Entry& entry);

// "file", "tree", "removed file", ...
std::string TypeOf(const control::Entry& entry);

// Bytes of a file; "-" for what has no size.
std::string SizeOf(const control::Entry& entry, const Format& format);

// `bytes`, one of the two counts of `entry`; "-" where there is no count.
std::string SpaceOf(const control::Entry& entry, uint64_t bytes, const Format& format);

// Schema in tools/README.md. `space`: with the bytes it refers to, and that only it holds.
Json EntryJson(const Target& target, const control::Entry& entry, bool space = false);

// One object on lines of its own. Names that are not UTF-8 get U+FFFD where they are not.
void PrintJson(const Json& json, std::ostream& out);
// The same on one line.
void PrintJsonLine(const Json& json, std::ostream& out);

}  // namespace cow::ctl
