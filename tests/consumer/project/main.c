// What a user writes first in C: keep a state, change it, and have both.
#include <cow/cow.h>
#include <stdio.h>

int main(void) {
  cow_volume* volume = NULL;
  cow_file* state = NULL;
  cow_file* old = NULL;
  char before = 0, now = 0;
  if (cow_volume_in_memory(0, &volume) != 0 || cow_file_create(volume, "/state", 0, &state) != 0 ||
      cow_file_write(state, 0, "1", 1) != 0 || cow_file_take_snapshot(state, "before", NULL) != 0 ||
      cow_file_write(state, 0, "2", 1) != 0 || cow_file_open(volume, "/state@before", &old) != 0 ||
      cow_file_read(old, 0, &before, 1) != 1 || cow_file_read(state, 0, &now, 1) != 1) {
    fprintf(stderr, "%s\n", cow_error_message());
    return 1;
  }
  printf("before %c, now %c\n", before, now);
  cow_file_close(old);
  cow_file_close(state);
  cow_volume_close(volume);
  return before == '1' && now == '2' ? 0 : 1;
}
