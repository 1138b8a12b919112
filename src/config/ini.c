/* SPDX-License-Identifier: MIT */
/*
 * Read byte by byte into a line of fixed size: a NUL byte is seen instead of ending the string, and
 * a file without line breaks costs no memory. Control characters are refused because what is read
 * here ends up in paths, logs and terminals; for the same reason a message, which may quote the
 * file, is made harmless before it leaves.
 */
#include "config/ini.h"

#include <errno.h>

#include "base/text.h"

struct line {
	char text[INI_LINE_MAX + 1];
	size_t length;
	unsigned number;
};

/* 1 if there was a line, 0 at the end. "\n" and "\r\n" end a line, as does the end of the file. */
static int next_line(FILE *file, struct line *line, struct error *err)
{
	int c;

	line->length = 0;
	line->number++;
	while ((c = getc(file)) != EOF && c != '\n') {
		if (line->length == INI_LINE_MAX)
			return error_set(err, -EMSGSIZE, "config.line-too-long",
				"a line is longer than %d bytes", INI_LINE_MAX);
		line->text[line->length++] = (char)c;
	}
	if (ferror(file))
		return error_errno(err, -errno, "config.read", "cannot read");
	if (c == EOF && line->length == 0)
		return 0;
	if (line->length > 0 && line->text[line->length - 1] == '\r')
		line->length--;
	line->text[line->length] = '\0';
	return 1;
}

static int check_characters(const struct line *line, struct error *err)
{
	for (size_t i = 0; i < line->length; i++) {
		unsigned char c = (unsigned char)line->text[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return error_set(err, -EINVAL, "config.control-character",
				"there is a control character (0x%02x) in this line", c);
	}
	if (!text_is_utf8(line->text))
		return error_set(err, -EINVAL, "config.not-utf8", "this line is not UTF-8");
	return 0;
}

static int read_section(char *s, char *section, struct error *err)
{
	size_t n = strlen(s);

	if (s[n - 1] != ']')
		return error_set(
			err, -EINVAL, "config.syntax", "the section name lacks its closing ']'");
	s[n - 1] = '\0';
	text_copy(section, INI_LINE_MAX + 1, text_strip(s + 1));
	return 0;
}

static int read_key(char *s, const char *section, ini_fn *fn, void *userdata, struct error *err)
{
	char *equals = strchr(s, '=');

	if (!equals || equals == s)
		return error_set(err, -EINVAL, "config.syntax",
			"expected '[section]', 'key = value' or a comment");
	if (!*section)
		return error_set(
			err, -EINVAL, "config.syntax", "a key stands before the first [section]");
	*equals = '\0';
	return fn(section, text_strip(s), text_strip(equals + 1), userdata, err);
}

int ini_read(FILE *file, const char *name, ini_fn *fn, void *userdata, struct error *err)
{
	struct line line = { .number = 0 };
	char section[INI_LINE_MAX + 1] = "";
	int r;

	while ((r = next_line(file, &line, err)) > 0) {
		char *s;

		r = check_characters(&line, err);
		if (r < 0)
			break;
		s = text_strip(line.text);
		if (*s == '[')
			r = read_section(s, section, err);
		else if (*s && *s != '#' && *s != ';')
			r = read_key(s, section, fn, userdata, err);
		if (r < 0)
			break;
	}
	if (r < 0 && err) {
		error_prefix(err, r, "%s:%u", name, line.number);
		text_sanitize(err->text);
	}
	return r;
}
