// Locks one byte of a file for writing, says so, and holds the lock until its input ends: what SQLite's connections in
// other processes do with the bytes of a -shm file.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  int file = open(argv[1], O_RDWR);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = atoi(argv[2]), .l_len = 1};
  if (file < 0 || fcntl(file, F_SETLK, &lock) != 0) {
    perror(argv[1]);
    return 1;
  }
  puts("locked");
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
  return 0;
}
