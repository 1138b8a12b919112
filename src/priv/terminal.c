/* SPDX-License-Identifier: MIT */
/*
 * All of /dev/pts is looked through instead of utmp, which knows neither the windows of tmux nor
 * the terminals of an editor. Its nodes belong to the users: whose a node is and whether it takes
 * messages is read again from what was opened. O_NONBLOCK keeps a terminal that is stopped (^S) or
 * full from holding us up; O_NOCTTY keeps it from becoming ours.
 */
#include "priv/terminal.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/text.h"

#define TERMINALS_MAX 32
#define TEXT_MAX      1000
#define MESSAGE_SIZE  (2 * TEXT_MAX + 8) /* each byte may be a line, and both ends */

/* Raw terminals do not make the beginning of a line of its end. */
static void make_message(char dst[MESSAGE_SIZE], const char *text)
{
	char copy[TEXT_MAX + 1];
	size_t n = 0;

	text_copy(copy, sizeof(copy), text);
	for (char *line = copy, *next; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		text_sanitize(line);
		n += (size_t)snprintf(dst + n, MESSAGE_SIZE - n, "\r\n%s", line);
	}
	snprintf(dst + n, MESSAGE_SIZE - n, "\r\n");
}

static bool takes_messages(const struct stat *st, uid_t uid)
{
	return S_ISCHR(st->st_mode) && st->st_uid == uid && st->st_mode & S_IWGRP;
}

static bool tell(int directory, const char *name, uid_t uid, const char *message)
{
	_cleanup_(closep) int fd =
		openat(directory, name, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && takes_messages(&st, uid) &&
	       write(fd, message, strlen(message)) > 0;
}

unsigned terminal_tell(uid_t uid, const char *text)
{
	_cleanup_(closedirp) DIR *terminals = opendir("/dev/pts");
	char message[MESSAGE_SIZE];
	unsigned tried = 0, reached = 0;
	struct dirent *entry;

	if (!terminals)
		return 0;
	make_message(message, text);
	while (tried < TERMINALS_MAX && (entry = readdir(terminals))) {
		struct stat st;

		if (!isdigit((unsigned char)entry->d_name[0]) ||
			fstatat(dirfd(terminals), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			!takes_messages(&st, uid))
			continue;
		tried++;
		if (tell(dirfd(terminals), entry->d_name, uid, message))
			reached++;
	}
	return reached;
}
