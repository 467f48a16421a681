/* Preloaded into a writer: kills it inside the sync of its -wal, once the file named by KILL_WHEN exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void die_if_wal(int fd) {
  const char *when = getenv("KILL_WHEN");
  char link[64], path[PATH_MAX];
  if (when == NULL || access(when, F_OK) != 0) return;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 4) return;
  path[length] = 0;
  if (strcmp(path + length - 4, "-wal") == 0) kill(getpid(), SIGKILL);
}

int fdatasync(int fd) {
  die_if_wal(fd);
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  return real(fd);
}

int fsync(int fd) {
  die_if_wal(fd);
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  return real(fd);
}
