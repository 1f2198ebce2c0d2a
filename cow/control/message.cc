#include "cow/control/message.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cow/base/status.h"
#include "cow/control/wire.h"

// A message is: magic (4 bytes), version (2), what it is (1: request, 2: reply), command (1; 0 in a
// reply), then the fields in the order of the structs. A text is its length (2) and its bytes.
namespace cow::control {
namespace {

constexpr uint32_t kMagic = 0x63776f63;  // "cowc"
constexpr uint8_t kRequestKind = 1;
constexpr uint8_t kReplyKind = 2;

constexpr size_t kMaxFeatures = 32;
constexpr size_t kMaxFeature = 200;

// What a reply takes at most beside its entries and damages.
constexpr size_t kReplyOverhead =
    512 + sizeof(Statistics) + kMaxPath + kMaxFeatures * (kMaxFeature + 2);
static_assert(kReplyOverhead < kMessageBytes);

void EncodeHeader(Writer& writer, uint8_t kind, uint8_t command) {
  writer.Unsigned(kMagic);
  writer.Unsigned(kVersion);
  writer.Unsigned(kind);
  writer.Unsigned(command);
}

absl::Status Malformed(std::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, EINVAL, what);
}

// Reads the header; the result is the command.
absl::StatusOr<uint8_t> DecodeHeader(Reader& reader, uint8_t kind) {
  const uint32_t magic = reader.Unsigned<uint32_t>();
  const uint16_t version = reader.Unsigned<uint16_t>();
  const uint8_t found = reader.Unsigned<uint8_t>();
  const uint8_t command = reader.Unsigned<uint8_t>();
  if (!reader.ok() || magic != kMagic) return Malformed("not a control message of cow");
  if (version != kVersion) {
    return MakeError(absl::StatusCode::kUnimplemented, EPROTONOSUPPORT,
                     absl::StrCat("cowctl and cowfs are of different versions (control messages ",
                                  version, " and ", kVersion,
                                  "); mount again with the cowfs that came with this cowctl"));
  }
  if (found != kind) return Malformed("a control message of the wrong kind");
  return command;
}

void EncodeInfo(Writer& writer, const Info& info) {
  writer.Text(info.volume, kMaxPath);
  writer.Text(info.uuid, kMaxName);
  writer.Unsigned(info.process);
  writer.Unsigned(info.total_bytes);
  writer.Unsigned(info.used_bytes);
  writer.Unsigned(info.available_bytes);
  const size_t features = std::min(info.features.size(), kMaxFeatures);
  writer.Unsigned(static_cast<uint16_t>(features));
  for (size_t i = 0; i < features; ++i) {
    writer.Text(std::string_view(info.features[i]).substr(0, kMaxFeature), kMaxFeature);
  }
}

Info DecodeInfo(Reader& reader) {
  Info info;
  info.volume = reader.Text(kMaxPath);
  info.uuid = reader.Text(kMaxName);
  info.process = reader.Unsigned<uint64_t>();
  info.total_bytes = reader.Unsigned<uint64_t>();
  info.used_bytes = reader.Unsigned<uint64_t>();
  info.available_bytes = reader.Unsigned<uint64_t>();
  const size_t features = reader.Unsigned<uint16_t>();
  for (size_t i = 0; i < features && reader.ok(); ++i) {
    info.features.push_back(reader.Text(kMaxFeature));
  }
  return info;
}

void EncodeEntry(Writer& writer, const Entry& entry) {
  writer.Text(entry.path, kMaxPath);
  writer.Text(entry.name, kMaxName);
  writer.Unsigned(static_cast<uint8_t>(entry.kind));
  writer.Bool(entry.removed);
  writer.Bool(entry.has_space);
  writer.Unsigned(entry.size);
  writer.Unsigned(static_cast<uint64_t>(entry.created_ns));
  writer.Unsigned(entry.referenced);
  writer.Unsigned(entry.exclusive);
  writer.Unsigned(entry.snapshots);
}

size_t EncodedSize(const Entry& entry) {
  return 2 + entry.path.size() + 2 + entry.name.size() + 3 + 5 * sizeof(uint64_t);
}

// False in `valid` for a kind this version does not know.
Entry DecodeEntry(Reader& reader, bool& valid) {
  Entry entry;
  entry.path = reader.Text(kMaxPath);
  entry.name = reader.Text(kMaxName);
  const uint8_t kind = reader.Unsigned<uint8_t>();
  valid = valid && kind <= static_cast<uint8_t>(Kind::kOther);
  entry.kind = static_cast<Kind>(kind);
  entry.removed = reader.Bool();
  entry.has_space = reader.Bool();
  entry.size = reader.Unsigned<uint64_t>();
  entry.created_ns = static_cast<int64_t>(reader.Unsigned<uint64_t>());
  entry.referenced = reader.Unsigned<uint64_t>();
  entry.exclusive = reader.Unsigned<uint64_t>();
  entry.snapshots = reader.Unsigned<uint64_t>();
  return entry;
}

size_t EncodedSize(const Damage& damage) {
  return 2 + damage.where.size() + 2 + damage.what.size();
}

// The end of a path says most, so that is what stays of one that is too long.
void CutFront(std::string& text, size_t limit) {
  if (text.size() > limit) text = ".../" + text.substr(text.size() - limit + 4);
}

bool Encode(const Reply& reply, std::span<std::byte> bytes) {
  Writer writer(bytes);
  EncodeHeader(writer, kReplyKind, 0);
  writer.Unsigned(static_cast<uint32_t>(ErrnoOf(reply.status)));
  writer.Unsigned(static_cast<uint8_t>(reply.status.code()));
  const absl::string_view message = reply.status.message().substr(0, kMaxText);
  writer.Text(std::string_view(message.data(), message.size()), kMaxText);
  if (!reply.status.ok()) return writer.ok();

  writer.Unsigned(reply.next);
  writer.Unsigned(reply.check.id);
  writer.Bool(reply.check.finished);
  writer.Unsigned(reply.check.done);
  writer.Unsigned(reply.check.total);
  EncodeInfo(writer, reply.info);
  for (const StatisticsField& field : kStatisticsFields) {
    writer.Unsigned(reply.statistics.*field.value);
  }
  for (const auto field : kDefragmentedFields) writer.Unsigned(reply.defragmented.*field);
  writer.Unsigned(static_cast<uint32_t>(reply.entries.size()));
  for (const Entry& entry : reply.entries) EncodeEntry(writer, entry);
  writer.Unsigned(static_cast<uint32_t>(reply.damages.size()));
  for (const Damage& damage : reply.damages) {
    writer.Text(damage.where, kMaxPath);
    writer.Text(damage.what, kMaxText);
  }
  return writer.ok();
}

}  // namespace

std::string UuidText(const std::array<uint8_t, 16>& uuid) {
  std::string text;
  for (size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text.push_back('-');
    absl::StrAppend(&text, absl::Hex(uuid[i], absl::kZeroPad2));
  }
  return text;
}

bool Reply::Fits(size_t bytes) {
  if (added_ > 0 && added_ + bytes > kMessageBytes - kReplyOverhead) return false;
  added_ += bytes;
  return true;
}

bool Reply::Add(Entry entry) {
  CutFront(entry.path, kMaxPath);
  entry.name.resize(std::min(entry.name.size(), kMaxName));
  if (!Fits(EncodedSize(entry))) return false;
  entries.push_back(std::move(entry));
  return true;
}

bool Reply::Add(Damage damage) {
  CutFront(damage.where, kMaxText);
  damage.what.resize(std::min(damage.what.size(), kMaxText));
  if (!Fits(EncodedSize(damage))) return false;
  damages.push_back(std::move(damage));
  return true;
}

absl::Status EncodeRequest(const Request& request, std::span<std::byte> bytes) {
  if (request.path.size() > kMaxPath || request.target.size() > kMaxPath ||
      request.name.size() > kMaxName) {
    return MakeError(absl::StatusCode::kInvalidArgument, ENAMETOOLONG, "name too long");
  }
  Writer writer(bytes);
  EncodeHeader(writer, kRequestKind, static_cast<uint8_t>(request.command));
  writer.Text(request.path, kMaxPath);
  writer.Text(request.name, kMaxName);
  writer.Text(request.target, kMaxPath);
  writer.Unsigned(request.cursor);
  writer.Unsigned(request.check_id);
  writer.Bool(request.space);
  writer.Bool(request.unshare);
  writer.Unsigned(request.rate);
  return writer.ok() ? absl::OkStatus() : Malformed("the request does not fit a message");
}

absl::StatusOr<Request> DecodeRequest(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  COW_ASSIGN_OR_RETURN(const uint8_t command, DecodeHeader(reader, kRequestKind));
  if (command < static_cast<uint8_t>(Command::kPing) ||
      command > static_cast<uint8_t>(Command::kDefragment)) {
    return MakeError(absl::StatusCode::kUnimplemented, EOPNOTSUPP,
                     absl::StrCat("no control request has the number ", command));
  }
  Request request;
  request.command = static_cast<Command>(command);
  request.path = reader.Text(kMaxPath);
  request.name = reader.Text(kMaxName);
  request.target = reader.Text(kMaxPath);
  request.cursor = reader.Unsigned<uint64_t>();
  request.check_id = reader.Unsigned<uint64_t>();
  request.space = reader.Bool();
  request.unshare = reader.Bool();
  request.rate = reader.Unsigned<uint64_t>();
  if (!reader.ok()) return Malformed("a malformed control request");
  return request;
}

void EncodeReply(const Reply& reply, std::span<std::byte> bytes) {
  if (Encode(reply, bytes)) return;
  Reply failed;
  failed.status = MakeError(absl::StatusCode::kInternal, EMSGSIZE, "the answer is too long");
  Encode(failed, bytes);
}

absl::StatusOr<Reply> DecodeReply(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  COW_RETURN_IF_ERROR(DecodeHeader(reader, kReplyKind).status());
  Reply reply;
  const uint32_t error = reader.Unsigned<uint32_t>();
  const uint8_t code = reader.Unsigned<uint8_t>();
  const std::string text = reader.Text(kMaxText);
  if (!reader.ok() || code > static_cast<uint8_t>(absl::StatusCode::kUnauthenticated) ||
      error > 4095) {
    return Malformed("a malformed control reply");
  }
  if (code != 0) {
    reply.status = MakeError(static_cast<absl::StatusCode>(code), static_cast<int>(error), text);
    return reply;
  }
  reply.next = reader.Unsigned<uint64_t>();
  reply.check.id = reader.Unsigned<uint64_t>();
  reply.check.finished = reader.Bool();
  reply.check.done = reader.Unsigned<uint64_t>();
  reply.check.total = reader.Unsigned<uint64_t>();
  reply.info = DecodeInfo(reader);
  for (const StatisticsField& field : kStatisticsFields) {
    reply.statistics.*field.value = reader.Unsigned<uint64_t>();
  }
  for (const auto field : kDefragmentedFields) {
    reply.defragmented.*field = reader.Unsigned<uint64_t>();
  }
  bool valid = true;
  const size_t entries = reader.Unsigned<uint32_t>();
  for (size_t i = 0; i < entries && reader.ok(); ++i) {
    reply.entries.push_back(DecodeEntry(reader, valid));
  }
  const size_t damages = reader.Unsigned<uint32_t>();
  for (size_t i = 0; i < damages && reader.ok(); ++i) {
    Damage damage;
    damage.where = reader.Text(kMaxPath);
    damage.what = reader.Text(kMaxText);
    reply.damages.push_back(std::move(damage));
  }
  if (!reader.ok() || !valid) return Malformed("a malformed control reply");
  return reply;
}

}  // namespace cow::control
