/*
 * Preloaded into a process, kills it at one system call, as a power switch would, or lets that call fail.
 *
 *     KILL_CALLS    what is counted, separated by commas: create mkdir link rename replace unlink rmdir write sync truncate
 *                   (a rename onto a file that exists is a "replace"; a create or mkdir of what exists, and an unlink of
 *                   what does not, is no call)
 *     KILL_PATH     only on paths (the new one, of two) that this extended regular expression finds
 *     KILL_SINCE    "call regex": only after such a call
 *     KILL_WHEN     only once this file exists
 *     KILL_NTH      the n-th of them, from 1; 0: each of them, as long as the file of KILL_WHEN is there
 *     KILL_MOMENT   before it, after it, or half: when half of what it writes is written; hold: it is only stopped before it,
 *                   and goes on with a SIGCONT. The process lives on, too, with fail: it fails with KILL_ERROR and nothing is
 *                   done; done: it fails, but is done; short: half of what it writes is written, and it says so; slow: it
 *                   is done 200 ms later; hang: it never comes back
 *     KILL_ERROR    the number of the error
 *     KILL_MARK     the file that says so: "call moment path"
 *     KILL_TRACE    instead of killing, appends "call path" of each call of any kind on such a path to this file
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <regex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *calls, *when, *mark, *trace, *moment = "before";
static char since_call[16];
static regex_t path_regex, since_regex;
static int has_path, has_since;
static long nth = 1;
static int error = EIO;
static atomic_long count;
static atomic_int since_seen;

__attribute__((constructor)) static void begin(void) {
  const char *value;
  calls = getenv("KILL_CALLS");
  when = getenv("KILL_WHEN");
  mark = getenv("KILL_MARK");
  trace = getenv("KILL_TRACE");
  if ((value = getenv("KILL_MOMENT")) != NULL) moment = value;
  if ((value = getenv("KILL_NTH")) != NULL) nth = atol(value);
  if ((value = getenv("KILL_ERROR")) != NULL) error = atoi(value);
  if ((value = getenv("KILL_PATH")) != NULL)
    has_path = regcomp(&path_regex, value, REG_EXTENDED | REG_NOSUB) == 0;
  value = getenv("KILL_SINCE");
  if (value != NULL && strchr(value, ' ') != NULL) {
    snprintf(since_call, sizeof since_call, "%.*s", (int)(strchr(value, ' ') - value), value);
    has_since = regcomp(&since_regex, strchr(value, ' ') + 1, REG_EXTENDED | REG_NOSUB) == 0;
  }
}

static int exists(const char *path) {
  struct stat facts;
  return syscall(SYS_newfstatat, AT_FDCWD, path, &facts, AT_SYMLINK_NOFOLLOW) == 0;
}

static void append(const char *file, const char *first, const char *second, const char *third) {
  char line[PATH_MAX + 64];
  int length = snprintf(line, sizeof line, "%s %s%s%s\n", first, second, third ? " " : "", third ? third : "");
  int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  if (syscall(SYS_write, fd, line, (size_t)length) < 0) abort();
  syscall(SYS_close, fd);
}

static _Noreturn void die(const char *call, const char *path) {
  if (mark != NULL) append(mark, call, moment, path);
  for (;;) syscall(SYS_kill, getpid(), SIGKILL);
}

static int is_listed(const char *call) {
  size_t length = strlen(call);
  for (const char *at = calls; at != NULL && *at != 0; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
    if (strncmp(at, call, length) == 0 && (at[length] == 0 || at[length] == ',')) return 1;
  return 0;
}

/* Whether this call is the one. */
static int is_it(const char *call, const char *path) {
  if (path[0] != '/') return 0;
  if (trace != NULL) {
    if (has_path && regexec(&path_regex, path, 0, NULL, 0) == 0) append(trace, call, path, NULL);
    return 0;
  }
  if (calls == NULL) return 0;
  int found = (!has_since || atomic_load(&since_seen)) && is_listed(call) && has_path &&
              regexec(&path_regex, path, 0, NULL, 0) == 0 && (when == NULL || exists(when)) &&
              (atomic_fetch_add(&count, 1) + 1 == nth || nth == 0);
  if (has_since && strcmp(call, since_call) == 0 && regexec(&since_regex, path, 0, NULL, 0) == 0)
    atomic_store(&since_seen, 1);
  if (found && strcmp(moment, "hold") == 0) {
    if (mark != NULL) append(mark, call, moment, path);
    /* To this thread: what the process gets another thread may take, and this one would go on until then. */
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP);
    return 0;
  }
  return found;
}

static int path_of(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return 1;
}

/* Whether the process lives on with this. */
static int is_trouble(const char *call, const char *path) {
  static const char *const all[] = {"fail", "done", "short", "slow", "hang"};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (strcmp(moment, all[i]) == 0) {
      if (mark != NULL) append(mark, call, moment, path);
      if (strcmp(moment, "slow") == 0) usleep(200000);
      while (strcmp(moment, "hang") == 0) pause();
      return 1;
    }
  return 0;
}

/* A path that begins at a descriptor, as it is from the root: of the last one, in each thread. */
static const char *named(const char *path) {
  static _Thread_local char whole[2 * PATH_MAX];
  static const char start[] = "/proc/self/fd/";
  if (strncmp(path, start, sizeof start - 1) != 0) return path;
  char *rest;
  long fd = strtol(path + sizeof start - 1, &rest, 10);
  if (!path_of((int)fd, whole)) return path;
  strncat(whole, rest, PATH_MAX);
  return whole;
}

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))
#define IS(word) (strcmp(moment, word) == 0)

/* Runs `action` between the two moments; its value is the call's. */
#define AROUND(call, given, type, action)                    \
  do {                                                       \
    const char *at = named(given);                           \
    int it = is_it(call, at);                                \
    int lives = it && is_trouble(call, at);                  \
    if (lives && IS("fail")) {                               \
      errno = error;                                         \
      return -1;                                             \
    }                                                        \
    if (it && !lives && !IS("after")) die(call, at);         \
    type result = action;                                    \
    if (it && !lives) die(call, at);                         \
    if (lives && IS("done")) {                               \
      errno = error;                                         \
      return -1;                                             \
    }                                                        \
    return result;                                           \
  } while (0)

static mode_t mode_of(int flags, va_list list) {
  return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(list, int) : 0;
}

#define OPEN(name)                                                                        \
  int name(const char *path, int flags, ...) {                                            \
    va_list list;                                                                         \
    va_start(list, flags);                                                                \
    mode_t mode = mode_of(flags, list);                                                   \
    va_end(list);                                                                         \
    if (!(flags & O_CREAT) || exists(path)) return REAL(name)(path, flags, mode);         \
    AROUND("create", path, int, REAL(name)(path, flags, mode));                           \
  }
OPEN(open)
OPEN(open64)

int mkdir(const char *path, mode_t mode) {
  if (exists(path)) return REAL(mkdir)(path, mode);
  AROUND("mkdir", path, int, REAL(mkdir)(path, mode));
}

int link(const char *from, const char *to) {
  if (exists(to)) return REAL(link)(from, to);
  AROUND("link", to, int, REAL(link)(from, to));
}

int rename(const char *from, const char *to) {
  AROUND(exists(to) ? "replace" : "rename", to, int, REAL(rename)(from, to));
}

int unlink(const char *path) {
  if (!exists(path)) return REAL(unlink)(path);
  AROUND("unlink", path, int, REAL(unlink)(path));
}

int rmdir(const char *path) {
  if (!exists(path)) return REAL(rmdir)(path);
  AROUND("rmdir", path, int, REAL(rmdir)(path));
}

#define SYNC(name)                                  \
  int name(int fd) {                                \
    char path[PATH_MAX];                            \
    if (!path_of(fd, path)) return REAL(name)(fd);  \
    AROUND("sync", path, int, REAL(name)(fd));      \
  }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name, type)                              \
  int name(int fd, type length) {                         \
    char path[PATH_MAX];                                  \
    if (!path_of(fd, path)) return REAL(name)(fd, length);\
    AROUND("truncate", path, int, REAL(name)(fd, length));\
  }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

/* `half` does half of the call's work. */
#define AROUND_WRITE(fd, call, half)                    \
  do {                                                  \
    char path[PATH_MAX];                                \
    int it = path_of(fd, path) && is_it("write", path); \
    if (it && is_trouble("write", path)) {              \
      if (IS("short")) return (half);                   \
      ssize_t done = IS("fail") ? 0 : (call);           \
      if (IS("slow")) return done;                      \
      errno = error;                                    \
      return -1;                                        \
    }                                                   \
    if (it && IS("before")) die("write", path);         \
    if (it && IS("half")) {                             \
      if ((half) < 0) abort();                          \
      die("write", path);                               \
    }                                                   \
    ssize_t result = call;                              \
    if (it) die("write", path);                         \
    return result;                                      \
  } while (0)

ssize_t write(int fd, const void *bytes, size_t length) {
  AROUND_WRITE(fd, REAL(write)(fd, bytes, length), REAL(write)(fd, bytes, length / 2));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
  AROUND_WRITE(fd, REAL(pwrite)(fd, bytes, length, at), REAL(pwrite)(fd, bytes, length / 2, at));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
  AROUND_WRITE(fd, REAL(pwrite64)(fd, bytes, length, at), REAL(pwrite64)(fd, bytes, length / 2, at));
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
  AROUND_WRITE(fd, REAL(writev)(fd, parts, n), REAL(writev)(fd, parts, n / 2));
}
