/* SPDX-License-Identifier: MIT */
/* Logs that grow, shrink, are replaced, hold anything, or are none. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../tap.h"
#include "base/fd.h"
#include "base/macro.h"
#include "cli/log_file.h"

static char directory[] = "/tmp/test-log-file-XXXXXX";
static char path[64], other[64];

static void put(const char *name, int flags, const char *text, size_t size)
{
	_cleanup_(closep) int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);

	CHECK(fd >= 0);
	CHECK_INT(write_all(fd, text, size), 0);
}

static void rewrite(const char *text)
{
	put(path, O_TRUNC, text, strlen(text));
}

static void append(const char *text)
{
	put(path, O_APPEND, text, strlen(text));
}

/* What print prints, up to 200000 bytes. */
static const char *printed(struct log_file *file,
	int (*print)(struct log_file *file, const struct log_sink *out), size_t *ret_size)
{
	static char text[200001];
	_cleanup_(closep) int out = memfd_create("out", MFD_CLOEXEC);
	ssize_t n;

	CHECK_INT(print(file, &(struct log_sink){ .fd = out }), 0);
	n = pread(out, text, sizeof(text) - 1, 0);
	text[MAX(n, 0)] = '\0';
	if (ret_size)
		*ret_size = (size_t)n;
	return text;
}

static int take(void *userdata, const char *text, size_t n)
{
	char *taken = userdata;

	if (n > 8)
		return -ENOSPC;
	taken += strlen(taken);
	memcpy(taken, text, n);
	taken[n] = '\0';
	return 0;
}

static void prints_to_whom_it_is_told(void)
{
	_cleanup_(log_file_close) struct log_file file;
	char taken[16] = "";
	const struct log_sink sink = { -1, take, taken };

	rewrite("a\nb\n");
	CHECK_INT(log_file_open(&file, path, 0, NULL), 0);
	CHECK_INT(log_file_print(&file, &sink), 0);
	append("c\n");
	CHECK_INT(log_file_print(&file, &sink), 0);
	CHECK_STR(taken, "a\nb\nc\n");
	append("too much of it\n");
	CHECK_INT(log_file_print(&file, &sink), -EPIPE);
}

static void begins_at_its_offset(void)
{
	_cleanup_(log_file_close) struct log_file file, shorter;

	rewrite("old\nnew\n");
	CHECK_INT(log_file_open(&file, path, 4, NULL), 0);
	CHECK_STR(printed(&file, log_file_print, NULL), "new\n");
	CHECK_STR(printed(&file, log_file_print, NULL), "");
	CHECK_INT(log_file_open(&shorter, path, 9, NULL), 0);
	CHECK_STR(printed(&shorter, log_file_print, NULL), "old\nnew\n");
}

static void any_bytes(void)
{
	static char text[150000];
	_cleanup_(log_file_close) struct log_file file;
	const char *got;
	size_t size;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7 + i / 256);
	put(path, O_TRUNC, text, sizeof(text));
	CHECK_INT(log_file_open(&file, path, 0, NULL), 0);
	got = printed(&file, log_file_print, &size);
	CHECK_INT(size, sizeof(text));
	CHECK(memcmp(got, text, sizeof(text)) == 0);
}

static void check_tail(const char *text, int64_t offset, uint64_t lines, const char *expected)
{
	_cleanup_(log_file_close) struct log_file file;

	rewrite(text);
	CHECK_INT(log_file_open(&file, path, offset, NULL), 0);
	CHECK_INT(log_file_tail(&file, lines), 0);
	CHECK_STR(printed(&file, log_file_print, NULL), expected);
}

static void last_lines(void)
{
	check_tail("a\nb\nc\n", 0, 2, "b\nc\n");
	check_tail("a\nb\nc", 0, 2, "b\nc");
	check_tail("a\nb\nc\n", 0, 0, "");
	check_tail("a\nb\nc\n", 0, 3, "a\nb\nc\n");
	check_tail("a\nb\nc\n", 0, 99, "a\nb\nc\n");
	check_tail("a\nb\nc\n", 2, 99, "b\nc\n"); /* not what was there before */
	check_tail("a\nb\nc\n", 4, 1, "c\n");
	check_tail("\n\n\n", 0, 2, "\n\n");
	check_tail("", 0, 5, "");
}

static void last_lines_of_much(void)
{
	static char text[180001];

	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = i % 60000 == 59999 ? '\n' : 'x';
	check_tail(text, 0, 2, text + 60000);
	check_tail(text, 0, 1, text + 120000);
}

static void follows(void)
{
	_cleanup_(log_file_close) struct log_file file;

	rewrite("a\n");
	CHECK_INT(log_file_open(&file, path, 0, NULL), 0);
	CHECK_STR(printed(&file, log_file_follow, NULL), "a\n");
	append("b\n");
	CHECK_STR(printed(&file, log_file_follow, NULL), "b\n");
	rewrite("c\n"); /* cut short */
	CHECK_STR(printed(&file, log_file_follow, NULL), "c\n");
	append("d\n");
	put(other, O_TRUNC, "e\n", 2);
	CHECK_INT(rename(other, path), 0); /* replaced: the end of the old one first */
	CHECK_STR(printed(&file, log_file_follow, NULL), "d\ne\n");
	append("f\n");
	CHECK_STR(printed(&file, log_file_follow, NULL), "f\n");
	CHECK_INT(unlink(path), 0);
	CHECK_STR(printed(&file, log_file_follow, NULL), "");
	rewrite("g\n");
	CHECK_STR(printed(&file, log_file_follow, NULL), "g\n");
}

static int is_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	char events[4096];

	if (poll(&poll_fd, 1, 0) <= 0)
		return 0;
	while (read(fd, events, sizeof(events)) > 0)
		;
	return 1;
}

static void tells_of_changes(void)
{
	_cleanup_(log_file_close) struct log_file file;
	_cleanup_(closep) int fd = -1;

	rewrite("a\n");
	CHECK_INT(log_file_open(&file, path, 0, NULL), 0);
	fd = log_file_watch(&file);
	CHECK(fd >= 0);
	CHECK(!is_readable(fd));
	append("b\n");
	CHECK(is_readable(fd));
	CHECK(!is_readable(fd));
	put(other, O_TRUNC, "c\n", 2);
	CHECK_INT(rename(other, path), 0);
	CHECK(is_readable(fd));
}

static void nothing_that_a_terminal_obeys(void)
{
	_cleanup_(log_file_close) struct log_file file, ascii;
	const char *text = "a\tb\r\n\033[2J\a\x7f"
			   "Gr\xc3\xbc\xc3\x9f\xe2\x94\x82\xc2\x9b"
			   "31m\xc2\xa0.\n";

	rewrite(text);
	CHECK_INT(log_file_open(&file, path, 0, NULL), 0);
	file.tame = file.utf8 = true;
	CHECK_STR(printed(&file, log_file_print, NULL),
		"a\tb\r\n?[2J??Gr\xc3\xbc\xc3\x9f\xe2\x94\x82\xc2?31m\xc2\xa0.\n");
	CHECK_INT(log_file_open(&ascii, path, 0, NULL), 0);
	ascii.tame = true;
	CHECK_STR(printed(&ascii, log_file_print, NULL), "a\tb\r\n?[2J??Gr???????"
							 "??31m??.\n");
}

/* A FIFO would be waited at; a directory, a device and what is not there are none either. */
static void what_is_no_file(void)
{
	struct error err = { 0 };
	struct log_file file;

	CHECK_INT(mkfifo(other, 0600), 0);
	CHECK_INT(log_file_open(&file, other, 0, &err), -EINVAL);
	CHECK(strstr(err.text, "is no file"));
	CHECK_INT(log_file_open(&file, directory, 0, &err), -EINVAL);
	CHECK_INT(log_file_open(&file, "/dev/null", 0, &err), -EINVAL);
	CHECK_INT(unlink(other), 0);
	CHECK_INT(log_file_open(&file, other, 0, &err), -ENOENT);
	CHECK(strstr(err.text, other));
}

int main(void)
{
	if (!mkdtemp(directory))
		return 1;
	snprintf(path, sizeof(path), "%s/log", directory);
	snprintf(other, sizeof(other), "%s/other", directory);
	TEST(begins_at_its_offset);
	TEST(prints_to_whom_it_is_told);
	TEST(any_bytes);
	TEST(last_lines);
	TEST(last_lines_of_much);
	TEST(follows);
	TEST(tells_of_changes);
	TEST(nothing_that_a_terminal_obeys);
	TEST(what_is_no_file);
	unlink(path);
	rmdir(directory);
	return tap_done();
}
