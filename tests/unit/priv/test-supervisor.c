/* SPDX-License-Identifier: MIT */
/* Orders as they are written, records as they are read, and a stand-in for dibs-exec: this program.
 */
#include "priv/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "../tap.h"
#include "base/fd.h"
#include "priv/process.h"

#define DEADLINE_MS 10000

static char directory[] = "/tmp/dibs-record-XXXXXX";
static int directory_fd;

/* --- fields --- */

static void writes_fields(void)
{
	_cleanup_(fields_writer_clear) struct fields_writer w = { 0 };
	static const char expected[] = "id=-42\0name=a=b\0user\0arg=\0end";
	const char *cursor, *end;

	fields_put_int(&w, "id", -42);
	fields_put(&w, "name", "a=b");
	fields_put(&w, "user", NULL);
	fields_put_raw(&w, "arg=\0end", 9);
	CHECK(!w.failed);
	CHECK_INT(w.size, sizeof(expected));
	CHECK(w.size == sizeof(expected) && memcmp(w.text, expected, w.size) == 0);
	cursor = w.text;
	end = w.text + w.size;
	CHECK_STR(fields_next(&cursor, end), "id=-42");
	CHECK_STR(fields_value(fields_next(&cursor, end), "name"), "a=b");
	CHECK(!fields_value(fields_next(&cursor, end), "user"));
	CHECK_STR(fields_value(fields_next(&cursor, end), "arg"), "");
	CHECK_STR(fields_next(&cursor, end - 1) ? "whole" : "cut", "cut");
	CHECK(cursor < end);
	CHECK_STR(fields_next(&cursor, end), "end");
	CHECK(cursor == end && !fields_next(&cursor, end));
}

static void grows(void)
{
	_cleanup_(fields_writer_clear) struct fields_writer w = { 0 };
	char value[1000];

	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	for (int i = 0; i < 300; i++)
		fields_put(&w, "env", value);
	CHECK(!w.failed);
	CHECK_INT(w.size, 300 * (4 + 1000));
	fields_put_raw(&w, value, SIZE_MAX / 2);
	CHECK(w.failed);
	CHECK_INT(w.size, 300 * (4 + 1000));
}

/* --- records --- */

static void put_record(const char *name, const void *text, size_t size)
{
	_cleanup_(closep) int fd =
		openat(directory_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write_all(fd, text, size) == 0);
}

static int read_text(const char *text, struct record *ret)
{
	put_record("1.0", text, strlen(text));
	record_clear(ret);
	return record_read(directory_fd, 1, 0, ret, NULL);
}

static void there_may_be_none(void)
{
	struct record record = { .exists = true };

	CHECK_INT(record_read(directory_fd, 99, 3, &record, NULL), 0);
	CHECK(!record.exists && !record.alive && record.end == RECORD_NONE);
}

static void reads_what_is_written(void)
{
	_cleanup_(record_clear) struct record r = { 0 };

	CHECK_INT(read_text("", &r), 0);
	CHECK(r.exists && !r.alive && r.pid == 0);
	CHECK_INT(read_text("supervisor 17 4711\nlog 5 /a b/c\nrunning 18\n", &r), 0);
	CHECK(r.pid == 17 && r.start_ticks == 4711 && r.running && r.command_pid == 18);
	CHECK_INT(r.log_offset, 5);
	CHECK_STR(r.log, "/a b/c");
	CHECK(r.end == RECORD_NONE);
	CHECK_INT(read_text("memory out of it\nexit 137\n", &r), 0);
	CHECK(r.end == RECORD_EXIT && r.code == 137);
	CHECK_STR(r.sentence, "out of it");
	CHECK_INT(read_text("signal 9\n", &r), 0);
	CHECK(r.end == RECORD_SIGNAL && r.code == 9);
	CHECK_INT(read_text("failed no \x1b[1m such user\n", &r), 0);
	CHECK(r.end == RECORD_FAILED && !r.running);
	CHECK_STR(r.sentence, "no ?[1m such user");
}

static void a_torn_line_is_none(void)
{
	_cleanup_(record_clear) struct record r = { 0 };

	CHECK_INT(read_text("supervisor 17 47\nrunning 18\nexit 1", &r), 0);
	CHECK(r.end == RECORD_NONE && r.running);
	CHECK_INT(read_text("supervisor 17 47", &r), 0);
	CHECK_INT(r.pid, 0);
}

static void other_files_are_none(void)
{
	static const char *const bad[] = { "\n", "supervisor 17\n", "supervisor 1 2 3\n",
		"supervisor -1 2\n", "log 5 a\n", "log /a\n", "log 1 /a\nlog 1 /b\n", "exit 256\n",
		"exit\n", "exit 1 2\n", "signal 9999\n", "running x\n", "exit 1\nexit 1\n",
		"nonsense\n" };
	struct record r = { .pid = 5 };
	char *large = calloc(1, 1 << 20);

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		put_record("2.0", bad[i], strlen(bad[i]));
		if (record_read(directory_fd, 2, 0, &r, NULL) != -EBADMSG)
			printf("# %s", bad[i]);
		CHECK_INT(record_read(directory_fd, 2, 0, &r, NULL), -EBADMSG);
	}
	put_record("2.0", "exit 1\0\n", 8);
	CHECK_INT(record_read(directory_fd, 2, 0, &r, NULL), -EBADMSG);
	memset(large, 'x', 1 << 20);
	put_record("2.0", large, 1 << 20);
	CHECK_INT(record_read(directory_fd, 2, 0, &r, NULL), -EBADMSG);
	CHECK_INT(r.pid, 5);
	free(large);
	CHECK_INT(unlinkat(directory_fd, "2.0", 0), 0);
	CHECK_INT(mkfifoat(directory_fd, "2.0", 0600), 0);
	CHECK_INT(record_read(directory_fd, 2, 0, &r, NULL), -EBADMSG);
	CHECK_INT(unlinkat(directory_fd, "2.0", 0), 0);
	CHECK_INT(symlinkat("1.0", directory_fd, "2.0"), 0);
	CHECK_INT(record_read(directory_fd, 2, 0, &r, NULL), -ELOOP);
}

static void path_of(char dst[64], const char *name)
{
	snprintf(dst, 64, "%s/%s", directory, name);
}

static void makes_one_that_is_locked(void)
{
	_cleanup_(record_clear) struct record r = { 0 };
	struct error err = { 0 };
	char path[64];
	uint64_t ticks = 0;
	int fd;

	path_of(path, "3.1");
	fd = record_create(path, &err);
	CHECK(fd >= 0);
	CHECK_INT(record_create(path, &err), -EEXIST);
	CHECK_INT(record_read(directory_fd, 3, 1, &r, NULL), 0);
	process_start_ticks(getpid(), &ticks);
	CHECK(r.exists && r.alive && r.pid == getpid() && r.start_ticks == ticks);
	CHECK_INT(record_read(directory_fd, 3, 1, &r, NULL), 0); /* looking has not disturbed it */
	CHECK(r.alive);
	CHECK_INT(record_write(fd, "failed %s", "a\nexit 0"), 0);
	close(fd);
	CHECK_INT(record_read(directory_fd, 3, 1, &r, NULL), 0);
	CHECK(!r.alive && r.end == RECORD_FAILED);
	CHECK_STR(r.sentence, "a?exit 0");
	CHECK_INT(record_create("/nonexistent/1.0", &err), -ENOENT);
	CHECK(strstr(err.text, "/nonexistent/1.0"));
}

/* --- starting --- */

/* The stand-in: answers with the order, and stays a session of its own without a death signal. */
static int child(void)
{
	char order[64];
	ssize_t n = read(STDIN_FILENO, order, sizeof(order));
	int seals = fcntl(STDIN_FILENO, F_GET_SEALS);

	if (n < 0 || getsid(0) != getpid() || !(seals & F_SEAL_WRITE))
		return 1;
	return write_all(STDOUT_FILENO, order, (size_t)n) < 0;
}

static void check_answer(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	char text[64];

	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
	CHECK_INT(poll(&ready, 1, DEADLINE_MS), 1);
	CHECK_INT(read(fd, text, sizeof(text)), 9);
	CHECK(memcmp(text, "id=1\0end", 9) == 0);
	CHECK_INT(poll(&ready, 1, DEADLINE_MS), 1);
	CHECK_INT(read(fd, text, sizeof(text)), 0);
}

static void starts_a_child(void)
{
	struct error err = { 0 };
	char path[64];
	pid_t pid = 0;
	int fd, status = -1;

	path_of(path, "no-socket");
	fd = supervisor_start(path, "/proc/self/exe", "id=1\0end", 9, &pid, &err);
	CHECK_STR(err.text, "");
	CHECK(fd >= 0 && pid > 0);
	check_answer(fd);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	close(fd);
	CHECK_INT(supervisor_start(path, NULL, "x", 1, &pid, &err), -ENOENT);
	CHECK_INT(supervisor_start(NULL, "/nonexistent", "x", 1, &pid, &err), -ENOENT);
	CHECK_INT(
		supervisor_start(NULL, "/proc/self/exe", "", SUPERVISOR_ORDER_MAX + 1, &pid, &err),
		-E2BIG);
}

static void uses_a_socket(void)
{
	_cleanup_(closep) int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char space[CMSG_SPACE(sizeof(int))], byte, text[16];
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = space,
		.msg_controllen = sizeof(space) };
	pid_t pid = -1;
	int fd, connection, order = -1;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", directory);
	CHECK_INT(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_INT(supervisor_start(address.sun_path, NULL, "x", 1, &pid, NULL), -ECONNREFUSED);
	CHECK_INT(listen(listener, 1), 0);
	fd = supervisor_start(address.sun_path, "/nonexistent", "id=1\0end", 9, &pid, NULL);
	CHECK(fd >= 0 && pid == 0);
	connection = accept(listener, NULL, NULL);
	CHECK_INT(recvmsg(connection, &message, 0), 1);
	if (CMSG_FIRSTHDR(&message))
		memcpy(&order, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(order));
	CHECK_INT(pread(order, text, sizeof(text), 0), 9);
	CHECK_INT(pwrite(order, "x", 1, 0), -1); /* sealed */
	write_all(connection, "id=1\0end", 9);
	close(order);
	close(connection);
	check_answer(fd);
	close(fd);
}

static void remove_all(void)
{
	static const char *const names[] = { "1.0", "2.0", "3.1", "socket" };

	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		unlinkat(directory_fd, names[i], 0);
	CHECK_INT(rmdir(directory), 0); /* nothing else was left there */
}

int main(void)
{
	struct stat st;

	/* Started by ourselves: the order is a memfd, which nobody else hands us. */
	if (fstat(STDIN_FILENO, &st) == 0 && S_ISREG(st.st_mode) &&
		fcntl(STDIN_FILENO, F_GET_SEALS) > 0)
		return child();
	if (!mkdtemp(directory))
		return 1;
	directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	TEST(writes_fields);
	TEST(grows);
	TEST(there_may_be_none);
	TEST(reads_what_is_written);
	TEST(a_torn_line_is_none);
	TEST(other_files_are_none);
	TEST(makes_one_that_is_locked);
	TEST(starts_a_child);
	TEST(uses_a_socket);
	TEST(remove_all);
	close(directory_fd);
	return tap_done();
}
