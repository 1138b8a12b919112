/* SPDX-License-Identifier: MIT */
#include "config/ini.h"

#include <errno.h>
#include <stdbool.h>

#include "../tap.h"
#include "base/macro.h"

DEFINE_CLEANUP(FILE *, fclose)

struct seen {
	char text[1024];
	const char *refuse; /* key */
};

static int collect(
	const char *section, const char *key, const char *value, void *userdata, struct error *err)
{
	struct seen *seen = userdata;
	size_t n = strlen(seen->text);

	if (seen->refuse && strcmp(key, seen->refuse) == 0)
		return error_set(err, -ERANGE, "test.refused", "no %s", key);
	snprintf(seen->text + n, sizeof(seen->text) - n, "%s.%s=%s|", section, key, value);
	return 0;
}

static int read_bytes(const char *data, size_t size, struct seen *seen, struct error *err)
{
	_cleanup_(fclosep) FILE *file = fmemopen((void *)data, size, "r");

	if (!file)
		return -errno;
	return ini_read(file, "f", collect, seen, err);
}

static int read_text(const char *text, struct seen *seen, struct error *err)
{
	return read_bytes(text, strlen(text), seen, err);
}

static void reads_sections_keys_comments(void)
{
	struct seen seen = { .text = "" };
	struct error err = { 0 };

	CHECK_INT(read_text("# c\n; d\n\n  [a]  \n x = 1 \n\ty=\n[ b ]\nx= # no comment = \n"
			    "z==\nlast=\xc3\xa4",
			  &seen, &err),
		0);
	CHECK_STR(seen.text, "a.x=1|a.y=|b.x=# no comment =|b.z==|b.last=\xc3\xa4|");
}

static void accepts_crlf(void)
{
	struct seen seen = { .text = "" };

	CHECK_INT(read_text("[a]\r\n\r\nx = 1\r\n# c\r\ny = 2\r", &seen, NULL), 0);
	CHECK_STR(seen.text, "a.x=1|a.y=2|");
}

static void refuses_with_the_place(void)
{
	static const struct {
		const char *text, *sentence;
	} bad[] = {
		{ "x = 1\n", "f:1: a key stands before the first [section]" },
		{ "[]\nx = 1\n", "f:2: a key stands before the first [section]" },
		{ "[a]\n\nwhat\n", "f:3: expected '[section]', 'key = value' or a comment" },
		{ "[a]\n= 1\n", "f:2: expected '[section]', 'key = value' or a comment" },
		{ "[a\n", "f:1: the section name lacks its closing ']'" },
		{ "[a]\nx = \xff\n", "f:2: this line is not UTF-8" },
		{ "[a]\nx = \xed\xa0\x80\n", "f:2: this line is not UTF-8" },
		{ "[a]\n# \xc3\n", "f:2: this line is not UTF-8" },
		{ "[a]\nx = \x1b[31m\n", "f:2: there is a control character (0x1b) in this line" },
		{ "[a]\nx = 1\r\r\n", "f:2: there is a control character (0x0d) in this line" },
		{ "[a]\nx = a\x7f\n", "f:2: there is a control character (0x7f) in this line" },
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		struct seen seen = { .text = "" };
		struct error err = { 0 };

		CHECK_INT(read_text(bad[i].text, &seen, &err), -EINVAL);
		CHECK_STR(err.text, bad[i].sentence);
		CHECK_STR(seen.text, "");
	}
}

static void refuses_nul_bytes(void)
{
	static const char data[] = "[a]\nx = 1\0\ny = 2\n";
	struct seen seen = { .text = "" };
	struct error err = { 0 };

	CHECK_INT(read_bytes(data, sizeof(data) - 1, &seen, &err), -EINVAL);
	CHECK_STR(err.text, "f:2: there is a control character (0x00) in this line");
	CHECK_STR(seen.text, "");
}

static void limits_the_length_of_lines(void)
{
	for (size_t length = INI_LINE_MAX; length <= INI_LINE_MAX + 1; length++) {
		char data[INI_LINE_MAX + 16];
		struct seen seen = { .text = "" };
		struct error err = { 0 };
		bool fits = length <= INI_LINE_MAX;

		memcpy(data, "[a]\n", 4);
		memset(data + 4, '#', length);
		memcpy(data + 4 + length, "\nx=1\n", 5);
		CHECK_INT(read_bytes(data, 4 + length + 5, &seen, &err), fits ? 0 : -EMSGSIZE);
		CHECK_STR(seen.text, fits ? "a.x=1|" : "");
		if (!fits)
			CHECK_STR(err.text, "f:2: a line is longer than 4096 bytes");
	}
}

static void stops_at_a_refusal(void)
{
	struct seen seen = { .text = "", .refuse = "y" };
	struct error err = { 0 };

	CHECK_INT(read_text("[a]\nx=1\ny=2\nz=3\n", &seen, &err), -ERANGE);
	CHECK_STR(seen.text, "a.x=1|");
	CHECK_STR(err.text, "f:3: no y");
	CHECK_STR(err.id, "test.refused");
}

static void messages_are_harmless(void)
{
	/* U+202E turns the direction of what follows. */
	struct seen seen = { .text = "", .refuse = "y\xe2\x80\xae" };
	struct error err = { 0 };

	CHECK_INT(read_text("[a]\ny\xe2\x80\xae=2\n", &seen, &err), -ERANGE);
	CHECK_STR(err.text, "f:2: no y?");
}

static void reports_read_errors(void)
{
	_cleanup_(fclosep) FILE *file = fopen("/", "re");
	struct error err = { 0 };

	CHECK(file);
	if (!file)
		return;
	CHECK_INT(ini_read(file, "f", collect, NULL, &err), -EISDIR);
	CHECK_STR(err.text, "f:1: cannot read: Is a directory");
}

int main(void)
{
	TEST(reads_sections_keys_comments);
	TEST(accepts_crlf);
	TEST(refuses_with_the_place);
	TEST(refuses_nul_bytes);
	TEST(limits_the_length_of_lines);
	TEST(stops_at_a_refusal);
	TEST(messages_are_harmless);
	TEST(reports_read_errors);
	return tap_done();
}
