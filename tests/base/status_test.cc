#include "cow/base/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <string>

namespace cow {
namespace {

TEST(StatusTest, ErrnoOfASystemCallComesBackUnchanged) {
  for (int error : {EPERM,     ENOENT, EIO,     ENOMEM,     EACCES, EBUSY,  EEXIST, EXDEV,
                    ENOTDIR,   EISDIR, EINVAL,  EMFILE,     EFBIG,  ENOSPC, EROFS,  ENAMETOOLONG,
                    ENOTEMPTY, ELOOP,  ENODATA, EOPNOTSUPP, ESTALE, EDQUOT}) {
    absl::Status status = ErrnoStatus(error, "open /volume");
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(ErrnoOf(status), error) << status;
  }
}

TEST(StatusTest, MessageNamesTheCallAndTheError) {
  absl::Status status = ErrnoStatus(ENOENT, "open /volume");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "open /volume: No such file or directory");
}

TEST(StatusTest, AStatusWithoutAnErrnoGetsTheOneThatSaysBest) {
  EXPECT_EQ(ErrnoOf(absl::OkStatus()), 0);
  EXPECT_EQ(ErrnoOf(absl::NotFoundError("")), ENOENT);
  EXPECT_EQ(ErrnoOf(absl::AlreadyExistsError("")), EEXIST);
  EXPECT_EQ(ErrnoOf(absl::ResourceExhaustedError("")), ENOSPC);
  EXPECT_EQ(ErrnoOf(absl::DataLossError("")), EIO);
  EXPECT_EQ(ErrnoOf(absl::UnknownError("")), EIO);
}

TEST(StatusTest, AnExplicitErrnoWinsOverTheCode) {
  absl::Status status = MakeError(absl::StatusCode::kFailedPrecondition, ENOTEMPTY, "/dir is full");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrnoOf(status), ENOTEMPTY);
  EXPECT_EQ(ErrnoOf(WithErrno(absl::NotFoundError("gone"), ESTALE)), ESTALE);
}

TEST(StatusTest, OkStaysOkWhateverIsAttached) {
  EXPECT_TRUE(WithErrno(absl::OkStatus(), EIO).ok());
  EXPECT_TRUE(Annotate(absl::OkStatus(), "context").ok());
}

TEST(StatusTest, AnnotateKeepsCodeAndErrno) {
  absl::Status status = Annotate(ErrnoStatus(EDQUOT, "write"), "commit");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoOf(status), EDQUOT);
  EXPECT_EQ(std::string(status.message()).rfind("commit: write: ", 0), 0u) << status;
}

absl::StatusOr<std::unique_ptr<int>> Half(int value) {
  if (value % 2 != 0) return absl::InvalidArgumentError("odd");
  return std::make_unique<int>(value / 2);
}

absl::StatusOr<int> Quarter(int value) {
  COW_ASSIGN_OR_RETURN(std::unique_ptr<int> half, Half(value));
  COW_ASSIGN_OR_RETURN(auto quarter, Half(*half));
  return *quarter;
}

TEST(StatusTest, AssignOrReturnMovesTheValueOrReturnsTheError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status(), absl::InvalidArgumentError("odd"));
}

absl::Status FailTwice(int& calls) {
  auto fail = [&calls] {
    ++calls;
    return absl::AbortedError("stop");
  };
  COW_RETURN_IF_ERROR(fail());
  COW_RETURN_IF_ERROR(fail());
  return absl::OkStatus();
}

TEST(StatusTest, ReturnIfErrorReturnsTheFirstErrorAndEvaluatesOnce) {
  int calls = 0;
  EXPECT_EQ(FailTwice(calls), absl::AbortedError("stop"));
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace cow
