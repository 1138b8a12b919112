/* SPDX-License-Identifier: MIT */
/* With real pseudo terminals, given to users that have no others. */
#include "priv/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "../tap.h"
#include "base/macro.h"

#define USER        54018
#define OTHER       54019
#define DEADLINE_MS 10000
#define MANY        40
#define MANY_TOLD   32

struct terminal {
	int master, slave;
};

/* Raw, so that what is written arrives as it is. */
static struct terminal open_terminal(uid_t uid, mode_t mode)
{
	struct terminal t = { -1, -1 };
	struct termios raw;

	CHECK_INT(openpty(&t.master, &t.slave, NULL, NULL, NULL), 0);
	CHECK_INT(tcgetattr(t.slave, &raw), 0);
	cfmakeraw(&raw);
	CHECK_INT(tcsetattr(t.slave, TCSANOW, &raw), 0);
	CHECK_INT(fchmod(t.slave, mode), 0);
	CHECK_INT(fchown(t.slave, uid, (gid_t)-1), 0);
	return t;
}

static void close_terminal(struct terminal *t)
{
	close(t->slave);
	close(t->master);
}

/* What stands there now; "" if nothing does. */
static const char *read_terminal(const struct terminal *t, int wait_ms)
{
	static char text[4096];
	struct pollfd wait = { t->master, POLLIN, 0 };
	ssize_t n = 0;

	if (poll(&wait, 1, wait_ms) == 1)
		n = read(t->master, text, sizeof(text) - 1);
	text[MAX(n, 0)] = '\0';
	return text;
}

static void tells_who_takes_messages(void)
{
	struct terminal yes = open_terminal(USER, 0620), no = open_terminal(USER, 0600),
			other = open_terminal(OTHER, 0620);

	CHECK_INT(terminal_tell(USER, "GPU 3 ends\x1b[2J\nsoon"), 1);
	CHECK_STR(read_terminal(&yes, DEADLINE_MS), "\r\nGPU 3 ends?[2J\r\nsoon\r\n");
	CHECK_STR(read_terminal(&no, 0), "");
	CHECK_STR(read_terminal(&other, 0), "");
	CHECK_INT(fchmod(no.slave, 0620), 0);
	CHECK_INT(terminal_tell(USER, ""), 2);
	CHECK_STR(read_terminal(&no, DEADLINE_MS), "\r\n\r\n");
	close_terminal(&yes);
	close_terminal(&no);
	CHECK_INT(terminal_tell(USER, "nobody"), 0);
	CHECK_INT(terminal_tell(OTHER, "one"), 1);
	close_terminal(&other);
}

static void never_waits_for_one_that_is_full(void)
{
	struct terminal full = open_terminal(USER, 0620), stopped = open_terminal(USER, 0620),
			good = open_terminal(USER, 0620);
	char block[4096];
	unsigned reached;

	memset(block, 'x', sizeof(block));
	CHECK_INT(fcntl(full.slave, F_SETFL, O_NONBLOCK), 0);
	while (write(full.slave, block, sizeof(block)) > 0)
		;
	CHECK_INT(tcflow(stopped.slave, TCOOFF), 0);
	/* The kernel may make room in the full one meanwhile. */
	reached = terminal_tell(USER, "text");
	CHECK(reached == 1 || reached == 2);
	CHECK_STR(read_terminal(&good, DEADLINE_MS), "\r\ntext\r\n");
	CHECK_STR(read_terminal(&stopped, 0), "");
	close_terminal(&full);
	close_terminal(&stopped);
	close_terminal(&good);
}

static void long_texts_are_cut_and_crowds_too(void)
{
	struct terminal t[MANY];
	char text[4096];

	memset(text, '\n', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < MANY; i++)
		t[i] = open_terminal(USER, 0620);
	CHECK_INT(terminal_tell(USER, text), MANY_TOLD);
	memset(text, 'x', sizeof(text) - 1);
	CHECK_INT(terminal_tell(USER, text), MANY_TOLD);
	for (int i = 0; i < MANY; i++)
		close_terminal(&t[i]);
}

int main(void)
{
	alarm(60);
	if (geteuid() != 0) {
		printf("1..0 # SKIP terminals are given to other users by root\n");
		return 0;
	}
	TEST(tells_who_takes_messages);
	TEST(never_waits_for_one_that_is_full);
	TEST(long_texts_are_cut_and_crowds_too);
	return tap_done();
}
