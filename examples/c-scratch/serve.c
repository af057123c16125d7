/* serve TEXT: answer every HTTP request on $PORT with a line of text, until SIGTERM or SIGINT. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void stop(int number)
{
    (void)number;
    _exit(0);
}

static void answer(int connection, const char *text)
{
    char request[4096];
    if (read(connection, request, sizeof request) > 0)
        dprintf(connection, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s\n",
                strlen(text) + 1, text);
    close(connection);
}

int main(int argc, char **argv)
{
    const char *port = getenv("PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port ? atoi(port) : 8080)};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

    /* Process 1 of a container is ended by no signal that it does not handle. */
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    signal(SIGPIPE, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
        perror("serve");
        return 1;
    }
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection >= 0)
            answer(connection, argc > 1 ? argv[1] : "hello");
    }
}
