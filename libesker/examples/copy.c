/* Writes what it reads to a file of a volume, and lists the root.
 *
 *   cc copy.c -I.. -L DIR -lesker -o copy && echo hello | ./copy unix:/run/esker/rpc.sock /hello
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "esker.h"

static int complain(const char *what, int64_t result) {
  char words[512];
  esker_error(words, sizeof words);
  fprintf(stderr, "%s: %s (errno %d)\n", what, words, (int)-result);
  return 1;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s ADDRESS PATH\n", argv[0]);
    return 2;
  }
  esker_client *client;
  int result = esker_connect(argv[1], NULL, 10000, &client);
  if (result < 0) return complain("connect", result);

  /* 2 write | 4 create | 16 cut, for root (no who). */
  int64_t handle = esker_open(client, NULL, argv[2], 2 | 4 | 16, 0644);
  if (handle < 0) return complain(argv[2], handle);
  uint8_t buffer[1 << 16];
  uint64_t offset = 0;
  size_t n;
  while ((n = fread(buffer, 1, sizeof buffer, stdin)) > 0) {
    int64_t written = esker_write(client, (uint32_t)handle, buffer, n, offset);
    if (written < 0) return complain("write", written);
    offset += (uint64_t)written;
  }
  if ((result = esker_fsync(client, (uint32_t)handle)) < 0) return complain("fsync", result);
  if ((result = esker_close_handle(client, (uint32_t)handle)) < 0) return complain("close", result);

  esker_dir *dir;
  if ((result = esker_opendir(client, NULL, "/", &dir)) < 0) return complain("/", result);
  esker_entry entry;
  while ((result = esker_readdir(dir, &entry)) > 0) {
    if (strcmp(entry.name, ".") == 0 || strcmp(entry.name, "..") == 0) continue;
    printf("%s %" PRIu64 "\n", entry.name, entry.attributes.size);
  }
  if (result < 0) return complain("readdir", result);
  esker_closedir(dir);

  /* What is not there is an error with words. */
  esker_attributes attributes;
  result = esker_stat(client, NULL, "/is/not/there", 0, &attributes);
  if (result != -2) return complain("stat of nothing", result);

  if ((result = esker_close(client)) < 0) return complain("close", result);
  return 0;
}
