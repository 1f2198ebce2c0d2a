#include "bench/databases.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <memory>

#if COW_BENCH_LMDB
#include <lmdb.h>
#endif
#if COW_BENCH_SQLITE
#include <sqlite3.h>
#endif

namespace bench {

namespace {

[[maybe_unused]] void Fail(const std::string& what) {
  std::cerr << what << "\n";
  std::exit(1);
}

#if COW_BENCH_LMDB
// One put a transaction, durable as LMDB is by default.
class Lmdb {
 public:
  Lmdb(const std::string& path, uint64_t pages, size_t page_bytes) : path_(path) {
    Check(mdb_env_create(&environment_));
    Check(mdb_env_set_mapsize(environment_, pages * page_bytes * 8));
    Check(mdb_env_open(environment_, path.c_str(), MDB_NOSUBDIR, 0600));
    MDB_txn* transaction = nullptr;
    Check(mdb_txn_begin(environment_, nullptr, 0, &transaction));
    Check(mdb_dbi_open(transaction, nullptr, MDB_INTEGERKEY, &table_));
    const std::vector<std::byte> page(page_bytes);
    for (uint64_t i = 0; i < pages; ++i) Put(transaction, i, page);
    Check(mdb_txn_commit(transaction));
  }
  Lmdb(const Lmdb&) = delete;
  Lmdb& operator=(const Lmdb&) = delete;
  ~Lmdb() {
    mdb_env_close(environment_);
    unlink(path_.c_str());
    unlink((path_ + "-lock").c_str());
  }

  void Write(uint64_t page, std::span<const std::byte> bytes) {
    MDB_txn* transaction = nullptr;
    Check(mdb_txn_begin(environment_, nullptr, 0, &transaction));
    Put(transaction, page, bytes);
    Check(mdb_txn_commit(transaction));
  }

 private:
  static void Check(int error) {
    if (error != MDB_SUCCESS) Fail(std::string("LMDB: ") + mdb_strerror(error));
  }
  void Put(MDB_txn* transaction, uint64_t page, std::span<const std::byte> bytes) {
    MDB_val key{sizeof(page), &page};
    MDB_val value{bytes.size(), const_cast<std::byte*>(bytes.data())};
    Check(mdb_put(transaction, table_, &key, &value, 0));
  }
  const std::string path_;
  MDB_env* environment_ = nullptr;
  MDB_dbi table_ = 0;
};
#endif

#if COW_BENCH_SQLITE
// A connection of one thread: WAL, synchronous=FULL, one update a transaction.
class Connection {
 public:
  explicit Connection(const std::string& path) {
    Check(sqlite3_open(path.c_str(), &database_));
    Check(sqlite3_busy_timeout(database_, 60000));
    Run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "CREATE TABLE IF NOT EXISTS pages (number INTEGER PRIMARY KEY, bytes BLOB)");
    Check(sqlite3_prepare_v2(database_, "INSERT OR REPLACE INTO pages VALUES (?, ?)", -1, &put_,
                             nullptr));
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    sqlite3_finalize(put_);
    sqlite3_close(database_);
  }

  void Run(const char* statements) {
    Check(sqlite3_exec(database_, statements, nullptr, nullptr, nullptr));
  }
  void Put(uint64_t page, std::span<const std::byte> bytes) {
    Check(sqlite3_bind_int64(put_, 1, static_cast<sqlite3_int64>(page)));
    Check(sqlite3_bind_blob(put_, 2, bytes.data(), static_cast<int>(bytes.size()), SQLITE_STATIC));
    if (sqlite3_step(put_) != SQLITE_DONE) Check(SQLITE_ERROR);
    Check(sqlite3_reset(put_));
  }

 private:
  void Check(int error) {
    if (error != SQLITE_OK) Fail(std::string("SQLite: ") + sqlite3_errmsg(database_));
  }
  sqlite3* database_ = nullptr;
  sqlite3_stmt* put_ = nullptr;
};

class Sqlite {
 public:
  Sqlite(const std::string& path, uint64_t pages, size_t page_bytes, int threads) : path_(path) {
    for (int i = 0; i < threads; ++i) connections_.push_back(std::make_unique<Connection>(path));
    Connection& first = *connections_.front();
    const std::vector<std::byte> page(page_bytes);
    first.Run("BEGIN");
    for (uint64_t i = 0; i < pages; ++i) first.Put(i, page);
    first.Run("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
  }
  ~Sqlite() {
    connections_.clear();
    for (const char* suffix : {"", "-wal", "-shm"}) unlink((path_ + suffix).c_str());
  }
  Connection& connection(int thread) { return *connections_[thread]; }

 private:
  const std::string path_;
  std::vector<std::unique_ptr<Connection>> connections_;
};
#endif

}  // namespace

std::vector<Rival> OpenDatabases([[maybe_unused]] const std::string& folder,
                                 [[maybe_unused]] uint64_t pages,
                                 [[maybe_unused]] size_t page_bytes, [[maybe_unused]] int threads) {
  std::vector<Rival> rivals;
#if COW_BENCH_LMDB
  rivals.push_back(
      {"LMDB", [lmdb = std::make_shared<Lmdb>(folder + "/commits.lmdb", pages, page_bytes)](
                   int, auto page, auto bytes) { lmdb->Write(page, bytes); }});
#else
  std::cerr << "LMDB is left out: it was not there at the build (package liblmdb-dev)\n";
#endif
#if COW_BENCH_SQLITE
  rivals.push_back(
      {"SQLite",
       [sqlite = std::make_shared<Sqlite>(folder + "/commits.sqlite", pages, page_bytes, threads)](
           int thread, auto page, auto bytes) { sqlite->connection(thread).Put(page, bytes); }});
#else
  std::cerr << "SQLite is left out: it was not there at the build (package libsqlite3-dev)\n";
#endif
  return rivals;
}

}  // namespace bench
