// The contract between cowctl and a running cowfs: requests and replies, and their encoding.
//
// A request travels in an ioctl on any file or directory of the mount; the buffer that carried it
// comes back with the reply. The ioctl itself answers 0 whenever a reply is in the buffer; what
// became of the request is in Reply::status. ENOTTY means that the file is not in a cowfs.
//
// The server:
//   Message& message = ...;                                  // from the ioctl, as it came
//   absl::StatusOr<Request> request = DecodeRequest(message.bytes);
//   Reply reply = request.ok() ? Execute(*request) : Reply{.status = request.status()};
//   EncodeReply(reply, message.bytes);                       // always leaves a valid reply
//
// The client: Call() in client.h.
//
// Paths are relative to the root of the volume, without a slash at either end; "" is the root,
// which stands for its tree. A path may lead through snapshots ("data@mon/x", ".snapshots/mon/x").
// The server walks it with the rights of the caller, as the kernel would.
//
// Everything here is safe on any bytes: a message that is not well formed is an error, never more.
#pragma once

#include <sys/ioctl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cow/control/statistics.h"

namespace cow::control {

// Bytes in a message: what the size field of an ioctl number can say (14 bits), rounded down.
inline constexpr size_t kMessageBytes = 16376;
struct Message {
  std::array<std::byte, kMessageBytes> bytes = {};
};

// The one ioctl of the contract, whatever its version. `_IOWR` makes the kernel carry the buffer both
// ways.
inline constexpr unsigned long kIoctl = _IOWR('c', 1, Message);

// Version of the encoding. Both sides name theirs; where they differ, the answer is an error that
// says so (EPROTONOSUPPORT). The header, the status and its message are laid out alike in all.
inline constexpr uint16_t kVersion = 3;

// Longest path and longest name that a message carries, in bytes.
inline constexpr size_t kMaxPath = 6000;
inline constexpr size_t kMaxName = 255;
// Longest message of a status; longer ones are cut.
inline constexpr size_t kMaxText = 1000;

// What is asked for; the fields of Request that count, and of Reply that are set, are named.
enum class Command : uint8_t {
  // Is this a cowfs, and which one? -> info. Anyone may.
  kPing = 1,
  // path, name: takes snapshot `name` of the file or tree at `path`; durable when answered.
  // -> entry of the snapshot. The owner of the file, or root.
  kSnapshot = 2,
  // path (may end in @NAME), target: makes `target` a clone; durable when answered. -> entry of the
  // clone. Who may read the file, or owns the tree, and may write the directory of the target. The
  // clone of a file is theirs; unless root makes it, without set-uid bits and capabilities.
  kClone = 3,
  // path, name: the head becomes what the snapshot holds. -> entry: the snapshot that keeps what
  // was replaced. The owner, or root.
  kRollBack = 4,
  // path, name, target: snapshot `name` is called `target` from here on. -> entry of the snapshot.
  // The owner, or root.
  kRename = 5,
  // path, name: destroys the snapshot. -> entry as it was. The owner, or root.
  kDestroy = 6,
  // path, cursor, space: the snapshots of what is at `path` and, for a directory, of all below it
  // -> entries, next. Who is not root gets those of what is theirs, and those that they can read in
  // place; EACCES where there are none such and they may not read what is at `path`.
  kList = 7,
  // path (may end in @NAME) -> entry, with its space; without, where another process writes the
  // volume and this one only reads it. Who may reach the path.
  kStat = 8,
  // path: makes a new directory the root of a tree; durable when answered. -> entry. Who may write
  // the directory that it comes to stand in.
  kCreateTree = 9,
  // rate: starts a check, or joins the one that runs and sets its rate -> check.id. Answers at once.
  // The owner of the root directory, or root.
  kStartCheck = 10,
  // cursor, check_id: how far the check is; from when it is finished on, its damages from `cursor`
  // on -> check, damages, next. The server keeps the result of the last check. One that nobody has
  // asked about for some seconds ends. As above.
  kPollCheck = 11,
  // What it has done since it mounted the volume -> info, statistics. Anyone may.
  kStatistics = 12,
  // path, cursor, unshare: brings together what lies scattered in some bytes of the file at `path`
  // from byte `cursor` on -> defragmented, next. The owner of the file, or root.
  kDefragment = 13,
};

struct Request {
  Command command = Command::kPing;
  std::string path = {};
  std::string name = {};
  std::string target = {};
  uint64_t cursor = 0;    // 0 begins; then Reply::next of the answer before
  uint64_t check_id = 0;  // Reply::check.id of kStartCheck
  bool space = false;     // count bytes for each entry too, which takes time
  bool unshare = false;   // move what versions share too
  uint64_t rate = 0;      // most bytes a second that a check reads; 0: no limit
  friend bool operator==(const Request&, const Request&) = default;
};

enum class Kind : uint8_t { kFile = 0, kDirectory = 1, kTree = 2, kLink = 3, kOther = 4 };

// A head, or a snapshot of one.
struct Entry {
  std::string path = {};  // of the head, now, or the last it had
  std::string name = {};  // of the snapshot; empty: the head
  Kind kind = Kind::kFile;
  bool removed = false;     // the head is gone; the snapshot stays
  bool has_space = false;   // referenced and exclusive are set
  uint64_t size = 0;        // bytes of the file, 0 for others
  int64_t created_ns = 0;   // since 1970: of the snapshot, or of the head; 0: not known
  uint64_t referenced = 0;  // bytes of the pages it can reach
  uint64_t exclusive = 0;   // bytes that would be free without it, page tables included
  uint64_t snapshots = 0;   // of a head: how many it has
  friend bool operator==(const Entry&, const Entry&) = default;
};

struct Damage {
  std::string where = {};
  std::string what = {};
  friend bool operator==(const Damage&, const Damage&) = default;
};

// What is mounted.
struct Info {
  std::string volume = {};   // path of the volume file, as cowfs was given it, made absolute
  std::string uuid = {};     // as UuidText writes it
  uint64_t process = 0;      // of the cowfs; 0: the volume is not mounted
  uint64_t total_bytes = 0;  // of the volume
  uint64_t used_bytes = 0;
  uint64_t available_bytes = 0;
  std::vector<std::string> features = {};  // "NAME: what is used", for `cowctl features MOUNT`
  friend bool operator==(const Info&, const Info&) = default;
};

std::string UuidText(const std::array<uint8_t, 16>& uuid);

struct CheckState {
  uint64_t id = 0;
  bool finished = false;
  uint64_t done = 0;   // frames
  uint64_t total = 0;  // 0: not known yet
  friend bool operator==(const CheckState&, const CheckState&) = default;
};

// What became of some bytes of a file, or, added up, of all.
struct Defragmented {
  uint64_t extents_before = 0;
  uint64_t extents_after = 0;
  uint64_t moved_bytes = 0;
  uint64_t shared_bytes = 0;  // scattered, and left so
  uint64_t file_bytes = 0;    // size of the file
  friend bool operator==(const Defragmented&, const Defragmented&) = default;
};
// All of them, in the order in which they are sent.
inline constexpr uint64_t Defragmented::*kDefragmentedFields[] = {
    &Defragmented::extents_before, &Defragmented::extents_after, &Defragmented::moved_bytes,
    &Defragmented::shared_bytes, &Defragmented::file_bytes};
static_assert(sizeof(Defragmented) == std::size(kDefragmentedFields) * sizeof(uint64_t));

struct Reply {
  absl::Status status = absl::OkStatus();  // with its errno; where not OK, nothing below is sent
  uint64_t next = 0;                       // cursor of the rest; 0: there is no more
  CheckState check = {};
  Info info = {};
  Statistics statistics = {};
  Defragmented defragmented = {};
  std::vector<Entry> entries = {};
  std::vector<Damage> damages = {};

  // Adds to a reply as long as it fits a message, and answers false when it does not: set `next`
  // then. The first always fits: what is too long in it is cut.
  bool Add(Entry entry);
  bool Add(Damage damage);

 private:
  bool Fits(size_t bytes);
  size_t added_ = 0;  // bytes of all entries and damages when encoded
};

// kInvalidArgument (EINVAL) for a request that cannot be encoded: a path or name too long.
absl::Status EncodeRequest(const Request& request, std::span<std::byte> bytes);
// kUnimplemented (EPROTONOSUPPORT) for another version, kInvalidArgument (EINVAL) for no request.
// `bytes` may have any length.
absl::StatusOr<Request> DecodeRequest(std::span<const std::byte> bytes);

// Encodes the reply; one that does not fit is replaced by one with an error (EMSGSIZE). `bytes` has
// kMessageBytes.
void EncodeReply(const Reply& reply, std::span<std::byte> bytes);
// As DecodeRequest; says nothing about Reply::status.
absl::StatusOr<Reply> DecodeReply(std::span<const std::byte> bytes);

}  // namespace cow::control
