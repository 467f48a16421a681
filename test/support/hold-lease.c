// Has a lease of a file, so that whoever opens it waits until the kernel takes the lease away; then takes it again, for ever.
// Says so the first time. Only who owns the file may.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  signal(SIGIO, SIG_IGN);
  int file = open(argv[1], O_RDWR);
  if (file < 0) return 1;
  for (int isHeld = 0;; usleep(10000)) {
    if (fcntl(file, F_SETLEASE, F_WRLCK) != 0 || isHeld) continue;
    isHeld = 1;
    puts("held");
    fflush(stdout);
  }
}
