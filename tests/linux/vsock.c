/* In a guest: "vsock connect PORT" and "vsock listen PORT" carry stdin and stdout to or from a
 * stream of the host, CID 2; what comes from there is written as it comes, until its end. */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int copy(int from, int to)
{
    char data[65536];
    ssize_t count;
    while ((count = read(from, data, sizeof(data))) > 0)
        for (ssize_t done = 0, more; done < count; done += more)
            if ((more = write(to, data + done, (size_t)(count - done))) < 0)
                return fail("write");
    return count < 0 ? fail("read") : 0;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct sockaddr_vm address = {.svm_family = AF_VSOCK,
                                  .svm_port = (unsigned)atoi(argv[2]),
                                  .svm_cid = VMADDR_CID_HOST};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (fd < 0)
        return fail("socket");
    if (!strcmp(argv[1], "connect")) {
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
            return fail("connect");
    } else {
        address.svm_cid = VMADDR_CID_ANY;
        if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1))
            return fail("listen");
        fputs("listening\n", stderr);
        if ((fd = accept(fd, NULL, NULL)) < 0)
            return fail("accept");
    }
    if (copy(0, fd))
        return 1;
    shutdown(fd, SHUT_WR);
    return copy(fd, 1);
}
