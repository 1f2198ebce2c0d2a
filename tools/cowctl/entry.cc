#include "tools/cowctl/entry.h"

namespace cow::ctl {
namespace {

const char* KindName(control::Kind kind) {
  switch (kind) {
    case control::Kind::kFile:
      return "file";
    case control::Kind::kDirectory:
      return "directory";
    case control::Kind::kTree:
      return "tree";
    case control::Kind::kLink:
      return "link";
    case control::Kind::kOther:
      return "other";
  }
  return "other";
}

}  // namespace

std::string NameOf(const Target& target, const control::Entry& entry) {
  const std::string path = target.NameOf(entry.path);
  return entry.name.empty() ? path : path + "@" + entry.name;
}

std::string TypeOf(const control::Entry& entry) {
  return std::string(entry.removed ? "removed " : "") + KindName(entry.kind);
}

std::string SizeOf(const control::Entry& entry, const Format& format) {
  return entry.kind == control::Kind::kFile ? Bytes(entry.size, format.exact) : "-";
}

std::string SpaceOf(const control::Entry& entry, uint64_t bytes, const Format& format) {
  return entry.has_space ? Bytes(bytes, format.exact) : "-";
}

Json EntryJson(const Target& target, const control::Entry& entry, bool space) {
  Json json;
  json["name"] = NameOf(target, entry);
  json["path"] = target.NameOf(entry.path);
  json["snapshot"] = entry.name.empty() ? Json(nullptr) : Json(entry.name);
  json["type"] = KindName(entry.kind);
  json["removed"] = entry.removed;
  json["size"] = entry.kind == control::Kind::kFile ? Json(entry.size) : Json(nullptr);
  json["created_ns"] = entry.created_ns == 0 ? Json(nullptr) : Json(entry.created_ns);
  if (space) {
    json["referenced"] = entry.has_space ? Json(entry.referenced) : Json(nullptr);
    json["exclusive"] = entry.has_space ? Json(entry.exclusive) : Json(nullptr);
  }
  if (entry.name.empty()) json["snapshots"] = entry.snapshots;
  return json;
}

void PrintJson(const Json& json, std::ostream& out) {
  out << json.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
}

void PrintJsonLine(const Json& json, std::ostream& out) {
  out << json.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
}

}  // namespace cow::ctl
