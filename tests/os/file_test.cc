#include "cow/os/file.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "cow/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"

namespace cow::os {
namespace {

using test::TemporaryDirectory;
using ::testing::Each;
using ::testing::HasSubstr;

std::vector<std::byte> Pattern(size_t size, unsigned start) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((start + i) % 251);
  return bytes;
}

enum class Where { kDisk, kMemory };

// The contract of File, for each place a volume can be.
class FileTest : public ::testing::TestWithParam<Where> {
 protected:
  void SetUp() override {
    file_ = GetParam() == Where::kDisk ? OpenFile(directory_ / "volume", OpenMode::kCreate).value()
                                       : OpenMemoryFile("volume").value();
  }

  // The same file through another open file description, as another process would have it.
  std::unique_ptr<File> OpenAgain(OpenMode mode = OpenMode::kWrite) {
    return OpenFile("/proc/self/fd/" + std::to_string(file_->descriptor()), mode).value();
  }

  TemporaryDirectory directory_;
  std::unique_ptr<File> file_;
};

INSTANTIATE_TEST_SUITE_P(Places, FileTest, ::testing::Values(Where::kDisk, Where::kMemory),
                         [](const auto& info) {
                           return info.param == Where::kDisk ? "Disk" : "Memory";
                         });

TEST_P(FileTest, ReadsBackWhatWasWritten) {
  const auto written = Pattern(3 * 4096 + 17, 5);
  ASSERT_TRUE(file_->Write(8192, written).ok());
  std::vector<std::byte> read(written.size());
  ASSERT_TRUE(file_->Read(8192, read).ok());
  EXPECT_EQ(read, written);
  EXPECT_TRUE(file_->Flush().ok());
}

TEST_P(FileTest, ReadsZerosPastTheEnd) {
  ASSERT_TRUE(file_->Write(0, Pattern(10, 1)).ok());
  std::vector<std::byte> read(20, std::byte{0xff});
  ASSERT_TRUE(file_->Read(0, read).ok());
  EXPECT_EQ(read[9], std::byte{10});
  EXPECT_THAT(std::span(read).subspan(10), Each(std::byte{0}));

  std::vector<std::byte> far(100, std::byte{0xff});
  iovec halves[] = {{far.data(), 50}, {far.data() + 50, 50}};
  ASSERT_TRUE(file_->ReadVector(1 << 20, halves).ok());
  EXPECT_THAT(far, Each(std::byte{0}));
}

TEST_P(FileTest, TransfersMoreBuffersThanOneCallTakes) {
  const size_t count = 2 * IOV_MAX + 3;
  auto written = Pattern(count * 7, 3);
  std::vector<iovec> buffers;
  for (size_t i = 0; i < count; ++i) {
    buffers.push_back({written.data() + i * 7, 7});
    if (i % 100 == 0) buffers.push_back({nullptr, 0});
  }
  ASSERT_TRUE(file_->WriteVector(100, buffers).ok());

  std::vector<std::byte> read(written.size() + 5, std::byte{0xff});
  ASSERT_TRUE(file_->Read(100, std::span(read).first(written.size())).ok());
  EXPECT_TRUE(std::equal(written.begin(), written.end(), read.begin()));

  std::fill(read.begin(), read.end(), std::byte{0xff});
  std::vector<iovec> targets;
  for (size_t i = 0; i < read.size(); i += 5) {
    targets.push_back({read.data() + i, std::min<size_t>(5, read.size() - i)});
  }
  ASSERT_TRUE(file_->ReadVector(100, targets).ok());
  EXPECT_TRUE(std::equal(written.begin(), written.end(), read.begin()));
  EXPECT_THAT(std::span(read).last(5), Each(std::byte{0}));
}

TEST_P(FileTest, EmptyTransfersDoNothing) {
  EXPECT_TRUE(file_->Write(5, {}).ok());
  EXPECT_TRUE(file_->WriteVector(5, {}).ok());
  iovec empty{nullptr, 0};
  EXPECT_TRUE(file_->WriteVector(5, std::span(&empty, 1)).ok());
  EXPECT_TRUE(file_->ReadVector(5, std::span(&empty, 1)).ok());
  EXPECT_EQ(file_->Size().value(), 0u);
}

TEST_P(FileTest, RefusesOffsetsTheKernelCannotHold) {
  std::byte byte{};
  const uint64_t huge = uint64_t{1} << 63;
  EXPECT_EQ(ErrnoOf(file_->Read(huge, std::span(&byte, 1))), EOVERFLOW);
  EXPECT_EQ(ErrnoOf(file_->Write(huge, std::span(&byte, 1))), EFBIG);
  EXPECT_EQ(ErrnoOf(file_->Write(huge - 1, std::span(&byte, 1))), EFBIG);
  EXPECT_EQ(ErrnoOf(file_->Resize(huge)), EFBIG);
  EXPECT_EQ(ErrnoOf(file_->Allocate(1, ~uint64_t{0})), EFBIG);
  EXPECT_EQ(ErrnoOf(file_->Punch(huge, 1)), EFBIG);
  EXPECT_EQ(ErrnoOf(file_->TryLock(huge, LockKind::kShared).status()), EOVERFLOW);
}

TEST_P(FileTest, AllocateGrowsAndKeepsWhatIsThere) {
  const auto written = Pattern(4096, 9);
  ASSERT_TRUE(file_->Write(0, written).ok());
  ASSERT_TRUE(file_->Allocate(0, 1 << 20).ok());
  EXPECT_EQ(file_->Size().value(), 1u << 20);
  EXPECT_GE(file_->AllocatedBytes().value(), 1u << 20);
  std::vector<std::byte> read(4096);
  ASSERT_TRUE(file_->Read(0, read).ok());
  EXPECT_EQ(read, written);
  ASSERT_TRUE(file_->Allocate(0, 4096).ok());
  EXPECT_EQ(file_->Size().value(), 1u << 20) << "allocating inside the file must not shrink it";
}

TEST_P(FileTest, PunchFreesSpaceAndReadsZero) {
  ASSERT_TRUE(file_->Write(0, Pattern(1 << 20, 9)).ok());
  ASSERT_TRUE(file_->Flush().ok());
  const uint64_t before = file_->AllocatedBytes().value();
  ASSERT_TRUE(file_->Punch(4096, (1 << 20) - 8192).ok());
  EXPECT_LT(file_->AllocatedBytes().value(), before);
  EXPECT_EQ(file_->Size().value(), 1u << 20);
  std::vector<std::byte> read(8192);
  ASSERT_TRUE(file_->Read(4095, read).ok());
  EXPECT_NE(read[0], std::byte{0});
  EXPECT_THAT(std::span(read).subspan(1), Each(std::byte{0}));
}

TEST_P(FileTest, ResizeGrowsWithZerosAndShrinks) {
  ASSERT_TRUE(file_->Write(0, Pattern(8192, 9)).ok());
  ASSERT_TRUE(file_->Resize(100).ok());
  ASSERT_TRUE(file_->Resize(uint64_t{1} << 40).ok());
  EXPECT_EQ(file_->Size().value(), uint64_t{1} << 40);
  EXPECT_LT(file_->AllocatedBytes().value(), 1u << 20);
  std::vector<std::byte> read(8192);
  ASSERT_TRUE(file_->Read(100, read).ok());
  EXPECT_THAT(read, Each(std::byte{0}));
}

TEST_P(FileTest, ExclusiveLockKeepsOthersOut) {
  auto other = OpenAgain();
  EXPECT_TRUE(file_->TryLock(7, LockKind::kExclusive).value());
  EXPECT_FALSE(other->TryLock(7, LockKind::kExclusive).value());
  EXPECT_FALSE(other->TryLock(7, LockKind::kShared).value());
  EXPECT_TRUE(other->TryLock(8, LockKind::kExclusive).value());
  ASSERT_TRUE(file_->Unlock(7).ok());
  EXPECT_TRUE(other->TryLock(7, LockKind::kExclusive).value());
}

TEST_P(FileTest, SharedLocksGoTogetherAndKeepAWriterOut) {
  auto reader = OpenAgain(OpenMode::kRead);
  auto other = OpenAgain();
  EXPECT_TRUE(file_->TryLock(7, LockKind::kShared).value());
  EXPECT_TRUE(reader->TryLock(7, LockKind::kShared).value());
  EXPECT_FALSE(other->TryLock(7, LockKind::kExclusive).value());
}

TEST_P(FileTest, LocksEndWithTheFile) {
  auto other = OpenAgain();
  EXPECT_TRUE(other->TryLock(7, LockKind::kExclusive).value());
  EXPECT_EQ(file_->FirstLocked(0, 100).value(), 7u);
  other.reset();
  EXPECT_EQ(file_->FirstLocked(0, 100).value(), std::nullopt);
  EXPECT_TRUE(file_->TryLock(7, LockKind::kExclusive).value());
}

TEST_P(FileTest, FirstLockedNamesTheLowestLockOfOthers) {
  std::vector<std::unique_ptr<File>> others;
  const uint64_t base = uint64_t{1} << 60;
  // Taken in an order that is neither rising nor falling, by several descriptions.
  for (const uint64_t byte : {500, 90, 700, 30, 31, 600}) {
    others.push_back(OpenAgain());
    ASSERT_TRUE(others.back()->TryLock(base + byte, LockKind::kShared).value());
    ASSERT_TRUE(others.back()->TryLock(base + byte + 1000, LockKind::kShared).value());
  }
  ASSERT_TRUE(file_->TryLock(base + 1, LockKind::kShared).value());  // its own do not count

  EXPECT_EQ(file_->FirstLocked(base, base + 10000).value(), base + 30);
  EXPECT_EQ(file_->FirstLocked(base + 30, base + 31).value(), base + 30);
  EXPECT_EQ(file_->FirstLocked(base + 31, base + 10000).value(), base + 31);
  EXPECT_EQ(file_->FirstLocked(base + 32, base + 10000).value(), base + 90);
  EXPECT_EQ(file_->FirstLocked(base + 701, base + 10000).value(), base + 1030);
  EXPECT_EQ(file_->FirstLocked(0, base + 30).value(), std::nullopt);
  EXPECT_EQ(file_->FirstLocked(0, ~uint64_t{0}).value(), base + 30);
  EXPECT_EQ(file_->FirstLocked(5, 5).value(), std::nullopt);
}

TEST_P(FileTest, NeighbouringLocksOfOneOwnerAreOneRange) {
  auto other = OpenAgain();
  for (uint64_t byte = 10; byte < 20; ++byte) {
    ASSERT_TRUE(other->TryLock(byte, LockKind::kShared).value());
  }
  EXPECT_EQ(file_->FirstLocked(0, 100).value(), 10u);
  EXPECT_EQ(file_->FirstLocked(15, 100).value(), 15u);
  ASSERT_TRUE(other->Unlock(15).ok());
  EXPECT_EQ(file_->FirstLocked(15, 100).value(), 16u);
}

TEST_P(FileTest, ConcurrentAllocationsNeverShrink) {
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (uint64_t i = 0; i < 50; ++i) {
        const uint64_t offset = (i * 4 + t) * 4096;
        ASSERT_TRUE(file_->Allocate(offset, 4096).ok());
        ASSERT_GE(file_->Size().value(), offset + 4096);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(file_->Size().value(), 200u * 4096);
}

TEST(OpenFileTest, SaysWhichFileAndWhichOperationFailed) {
  TemporaryDirectory directory;
  const auto missing = OpenFile(directory.path() + "/nothing", OpenMode::kWrite);
  EXPECT_EQ(ErrnoOf(missing.status()), ENOENT);
  EXPECT_THAT(std::string(missing.status().message()),
              HasSubstr("/nothing: open: No such file or directory"));

  auto file = OpenFile(directory / "volume", OpenMode::kCreate).value();
  auto reader = OpenFile(file->name(), OpenMode::kRead).value();
  const absl::Status refused = reader->Write(8192, Pattern(4096, 0));
  EXPECT_EQ(ErrnoOf(refused), EBADF);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("/volume: write of 4096 bytes at 8192: Bad file descriptor"));
}

TEST(OpenFileTest, CreateRefusesWhatIsThereAndKeepsItPrivate) {
  TemporaryDirectory directory;
  const std::string path = directory / "volume";
  auto file = OpenFile(path, OpenMode::kCreate).value();
  EXPECT_EQ(ErrnoOf(OpenFile(path, OpenMode::kCreate).status()), EEXIST);
  struct stat info;
  ASSERT_EQ(fstat(file->descriptor(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(fcntl(file->descriptor(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST(OpenFileTest, RefusesWhatIsNoFile) {
  TemporaryDirectory directory;
  EXPECT_EQ(ErrnoOf(OpenFile(directory.path(), OpenMode::kRead).status()), EISDIR);
  EXPECT_EQ(ErrnoOf(OpenFile(directory.path(), OpenMode::kWrite).status()), EISDIR);
  const std::string fifo = directory / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(ErrnoOf(OpenFile(fifo, OpenMode::kRead).status()), EINVAL) << "and does not wait";
}

TEST(OpenFileTest, LocksOfAKilledProcessEnd) {
  TemporaryDirectory directory;
  const std::string path = directory / "volume";
  auto file = OpenFile(path, OpenMode::kCreate).value();
  int ready[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto mine = OpenFile(path, OpenMode::kWrite);
    const bool locked = mine.ok() && mine.value()->TryLock(42, LockKind::kExclusive).value();
    const ssize_t told = write(ready[1], &locked, 1);
    while (told == 1) pause();
    _exit(1);
  }
  ASSERT_GT(child, 0);
  bool locked = false;
  EXPECT_EQ(read(ready[0], &locked, 1), 1);
  EXPECT_TRUE(locked);
  EXPECT_FALSE(file->TryLock(42, LockKind::kShared).value());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(file->TryLock(42, LockKind::kShared).value());
  close(ready[0]);
  close(ready[1]);
}

TEST(OpenFileTest, AWriteCutShortByALimitIsAnError) {
  TemporaryDirectory directory;
  auto file = OpenFile(directory / "volume", OpenMode::kCreate).value();
  rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit limit{6000, old.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const absl::Status status = file->Write(0, Pattern(8192, 0));
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(ErrnoOf(status), EFBIG) << "the first 6000 bytes fit; the rest is retried and fails";
  EXPECT_EQ(file->Size().value(), 6000u);
}

}  // namespace
}  // namespace cow::os
