// Team: every item once, failures as a Status, the stop flag, and no thread left behind.
#include "base/team.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "threads.hpp"

namespace phnsw {
namespace {

enum class Guest { kNone, kHelps, kStaysAway };

// Runs body as the conductor of a team, as a build does.
void lead_one(Team::Kind kind, Guest guest, unsigned threads, const std::function<void(Team &)> &body,
              std::atomic<bool> *stop) {
  std::atomic<bool> never{false};
  struct Context {
    Team team;
    const std::function<void(Team &)> &body;
  } context{{threads, stop != nullptr ? *stop : never, kind}, body};
  Conductor conductor;
  const int before = test::threads_at_rest();
  ASSERT_TRUE(conductor
                  .start(
                      [](void *self) -> void * {
                        static_cast<Context *>(self)->team.lead(
                            [](void *c) { static_cast<Context *>(c)->body(static_cast<Context *>(c)->team); }, self);
                        return nullptr;
                      },
                      &context)
                  .ok());
  if (guest == Guest::kHelps) {
    while (!context.team.help(std::chrono::steady_clock::now() + std::chrono::milliseconds(1))) {
    }
  }
  conductor.join();
  context.team.await_workers();
  EXPECT_EQ(test::threads_once_settled(before), before);
}

// A team of libgomp's and a brief one.
void lead_threads(unsigned threads, const std::function<void(Team &)> &body, std::atomic<bool> *stop = nullptr) {
  lead_one(Team::Kind::kLong, Guest::kNone, threads, body, stop);
  if (stop != nullptr) stop->store(false);
  lead_one(Team::Kind::kBrief, Guest::kNone, threads, body, stop);
}

// And brief ones with a guest.
void lead(unsigned threads, const std::function<void(Team &)> &body, std::atomic<bool> *stop = nullptr) {
  lead_threads(threads, body, stop);
  if (threads == 1) return;
  if (stop != nullptr) stop->store(false);
  lead_one(Team::Kind::kBriefWithGuest, Guest::kHelps, threads, body, stop);
}

TEST(Team, DoesEveryItemOnce) {
  for (const unsigned threads : {1u, 2u, 3u, 8u}) {
    lead(threads, [&](Team &team) {
      for (const std::size_t items : {0u, 1u, 2u, 7u, 1000u}) {
        std::vector<std::atomic<int>> done(items);
        const Status status = team.for_each(items, [&](std::size_t item, unsigned worker) {
          EXPECT_LT(worker, team.threads());
          done[item]++;
        });
        EXPECT_TRUE(status.ok());
        for (const auto &times : done) EXPECT_EQ(times.load(), 1);
      }
    });
  }
}

// With set_alone() the conductor does all items itself, in order, until it is taken back.
TEST(Team, WorksAlone) {
  lead(3, [&](Team &team) {
    team.set_alone(true);
    std::size_t next = 0;
    EXPECT_TRUE(team.for_each(1000,
                              [&](std::size_t item, unsigned worker) {
                                EXPECT_EQ(worker, 0u);
                                EXPECT_EQ(item, next++);
                              })
                    .ok());
    EXPECT_EQ(next, 1000u);
    team.set_alone(false);
    if (team.threads() < 2) return;
    std::atomic<int> arrived{0};
    EXPECT_TRUE(team.for_each(2,
                              [&](std::size_t, unsigned) {
                                arrived++;
                                while (arrived.load() < 2) std::this_thread::yield();
                              })
                    .ok());
  });
}

TEST(Team, WorksInParallel) {
  lead(2, [&](Team &team) {
    if (team.threads() < 2) GTEST_SKIP();
    // Each item waits for the other: they end only if two threads run them.
    std::atomic<int> arrived{0};
    const Status status = team.for_each(2, [&](std::size_t, unsigned) {
      arrived++;
      while (arrived.load() < 2) std::this_thread::yield();
    });
    EXPECT_TRUE(status.ok());
  });
}

// A guest who never comes holds nobody up; one who comes works as the second of two.
TEST(Team, WorksWithAndWithoutItsGuest) {
  lead_one(
      Team::Kind::kBriefWithGuest, Guest::kStaysAway, 2,
      [](Team &team) {
        int done = 0;
        EXPECT_TRUE(team.for_each(100,
                                  [&](std::size_t, unsigned worker) {
                                    EXPECT_EQ(worker, 0u);
                                    done++;
                                  })
                        .ok());
        EXPECT_EQ(done, 100);
      },
      nullptr);
  const std::thread::id caller = std::this_thread::get_id();
  lead_one(
      Team::Kind::kBriefWithGuest, Guest::kHelps, 2,
      [&](Team &team) {
        std::atomic<int> arrived{0}, guests{0};
        EXPECT_TRUE(team.for_each(2,
                                  [&](std::size_t, unsigned worker) {
                                    if (std::this_thread::get_id() == caller) {
                                      EXPECT_EQ(worker, 1u);
                                      guests++;
                                    }
                                    arrived++;
                                    while (arrived.load() < 2) std::this_thread::yield();
                                  })
                        .ok());
        EXPECT_EQ(guests.load(), 1);
      },
      nullptr);
}

// help() comes back in time while the conductor is busy with something of its own, and later.
TEST(Team, ItsGuestMayLookAway) {
  std::atomic<bool> never{false}, go_on{false};
  Team team(2, never, Team::Kind::kBriefWithGuest);
  struct Context {
    Team &team;
    std::atomic<bool> &go_on;
  } context{team, go_on};
  Conductor conductor;
  const auto main = [](void *self) {
    while (!static_cast<Context *>(self)->go_on.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  static void (*const kMain)(void *) = main;
  ASSERT_TRUE(conductor
                  .start(
                      [](void *self) -> void * {
                        static_cast<Context *>(self)->team.lead(kMain, self);
                        return nullptr;
                      },
                      &context)
                  .ok());
  const auto soon = std::chrono::milliseconds(5);
  EXPECT_FALSE(team.help(std::chrono::steady_clock::now() + soon));
  EXPECT_FALSE(team.help(std::chrono::steady_clock::now() + soon));
  go_on = true;
  EXPECT_TRUE(team.help(std::chrono::steady_clock::now() + std::chrono::minutes(1)));
  conductor.join();
}

TEST(Team, ReturnsTheFirstFailure) {
  lead(4, [&](Team &team) {
    EXPECT_EQ(team.for_each(100, [](std::size_t, unsigned) { throw std::bad_alloc(); }).code(), PHNSW_OUT_OF_MEMORY);
    EXPECT_EQ(team.for_each(100, [](std::size_t, unsigned) { throw std::runtime_error("x"); }).code(), PHNSW_INTERNAL);
    EXPECT_EQ(team.for_each(100,
                            [](std::size_t i, unsigned) {
                              if (i == 50) throw 1;
                            })
                  .code(),
              PHNSW_INTERNAL);
    const Status failed = team.for_each(100, [&](std::size_t i, unsigned) {
      if (i != 3) return;
      team.fail({PHNSW_LIMIT, "first"});
      team.fail({PHNSW_CORRUPT, "second"});
    });
    EXPECT_EQ(failed.code(), PHNSW_LIMIT);
    EXPECT_STREQ(failed.text(), "first");
    EXPECT_TRUE(team.for_each(100, [](std::size_t, unsigned) {}).ok());
  });
}

TEST(Team, Stops) {
  std::atomic<bool> stop{false};
  lead(
      2,
      [&](Team &team) {
        std::atomic<int> begun{0};
        const Status status = team.for_each(1000000, [&](std::size_t, unsigned) {
          if (begun++ == 10) stop = true;
        });
        EXPECT_EQ(status.code(), PHNSW_CANCELLED);
        EXPECT_LT(begun.load(), 1000);
      },
      &stop);
}

// The conductor and its workers have every signal blocked: a signal always finds the process's own thread.
TEST(Team, BlocksSignals) {
  lead_threads(3, [&](Team &team) {
    std::atomic<int> open{0};
    const Status status = team.for_each(64, [&](std::size_t, unsigned) {
      sigset_t mask;
      pthread_sigmask(SIG_SETMASK, nullptr, &mask);
      for (const int signal : {SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGHUP}) open += sigismember(&mask, signal) == 0;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    EXPECT_TRUE(status.ok());
    EXPECT_EQ(open.load(), 0);
  });
}

}  // namespace
}  // namespace phnsw
