/* SPDX-License-Identifier: MIT */
#include "cli/comeback.h"

#include <libgen.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/inotify.h>

#include "base/macro.h"
#include "proto/client.h"

#define RETRY_FIRST_MS 20
#define RETRY_MAX_MS   2000

void comeback_begin(struct comeback *comeback, const char *path)
{
	_cleanup_(freep) char *copy = strdup(client_path(path));

	comeback->timeout_ms = RETRY_FIRST_MS;
	comeback->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	/* Without it (too many watches, no such directory) there is still the timeout. */
	if (comeback->inotify >= 0 && copy)
		inotify_add_watch(
			comeback->inotify, dirname(copy), IN_CREATE | IN_MOVED_TO | IN_ATTRIB);
}

void comeback_end(struct comeback *comeback)
{
	closep(&comeback->inotify);
	comeback->inotify = -1;
}

void comeback_note(struct comeback *comeback)
{
	char events[4096];
	bool happened = false;

	while (comeback->inotify >= 0 && read(comeback->inotify, events, sizeof(events)) > 0)
		happened = true;
	/* It listens a moment after it was made. */
	comeback->timeout_ms =
		happened ? RETRY_FIRST_MS : MIN(comeback->timeout_ms * 2, RETRY_MAX_MS);
}

void comeback_pause(struct comeback *comeback)
{
	struct pollfd poll_fd = { .fd = comeback->inotify, .events = POLLIN };

	poll(&poll_fd, 1, comeback->timeout_ms);
	comeback_note(comeback);
}
