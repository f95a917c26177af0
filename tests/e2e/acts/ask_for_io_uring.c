/* Asks the kernel for io_uring and says whether it was refused: run inside a container. */
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
    char parameters[120] = {0};
    long ring = syscall(SYS_io_uring_setup, 1, parameters);
    puts(ring < 0 && errno == EPERM ? "refused" : "allowed");
}
