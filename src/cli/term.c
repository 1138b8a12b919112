/* SPDX-License-Identifier: MIT */
#include "cli/term.h"

#include <errno.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/parse.h"
#include "base/text.h"

static const char *const style_sequences[STYLE_MAX] = {
	[STYLE_PLAIN] = "",
	[STYLE_GOOD] = "\033[32m",
	[STYLE_BUSY] = "\033[33m",
	[STYLE_WARN] = "\033[1;31m",
	[STYLE_DIM] = "\033[2m",
	[STYLE_BOLD] = "\033[1m",
};

void term_measure(struct term *term, int fd)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size = { 0 };
	uint64_t width;

	if (term->tty && ioctl(fd, TIOCGWINSZ, &size) < 0)
		size.ws_col = 80;
	term->height = size.ws_row;
	term->width = size.ws_col;
	if (term->tty && size.ws_col < 20)
		term->width = 80;
	if (columns && parse_uint(columns, 20, 10000, &width) == 0)
		term->width = (unsigned)width;
}

int term_init(struct term *term, int fd, const char *color, struct error *err)
{
	const char *no_color = getenv("NO_COLOR"), *type = getenv("TERM");

	*term = (struct term){ .tty = isatty(fd) };
	term->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	term_measure(term, fd);
	if (!color || strcmp(color, "auto") == 0)
		term->color =
			term->tty && !(no_color && *no_color) && type && strcmp(type, "dumb") != 0;
	else if (strcmp(color, "always") == 0)
		term->color = true;
	else if (strcmp(color, "never") != 0)
		return error_set(err, -EINVAL, "usage.color",
			"--color takes auto, always or never, not '%s'", color);
	return 0;
}

const char *term_style(const struct term *term, enum style style)
{
	return term->color ? style_sequences[style] : "";
}

const char *term_plain(const struct term *term)
{
	return term->color ? "\033[0m" : "";
}

void term_fit(const struct term *term, char *text)
{
	char *out = text;

	text_sanitize(text);
	if (term->utf8)
		return;
	for (const char *s = text; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c < 0x80)
			*out++ = *s;
		else if (c >= 0xc0) /* the first byte of a character; the others vanish */
			*out++ = '?';
	}
	*out = '\0';
}

/* The columns of the word at s, if each character is as wide as one. */
static unsigned word_width(const char *s, size_t *ret_bytes)
{
	size_t bytes = strcspn(s, " ");
	unsigned width = 0;

	for (size_t i = 0; i < bytes; i++)
		width += ((unsigned char)s[i] & 0xc0) != 0x80;
	*ret_bytes = bytes;
	return width;
}

void term_wrap(FILE *out, const struct term *term, unsigned indent, const char *text)
{
	unsigned column = indent;

	for (const char *s = text; *s;) {
		size_t bytes;
		unsigned width = word_width(s, &bytes);

		if (s > text && term->width && column + 1 + width > term->width) {
			fprintf(out, "\n%*s", (int)indent, "");
			column = indent;
		} else if (s > text) {
			fputc(' ', out);
			column++;
		}
		fwrite(s, 1, bytes, out);
		column += width;
		s += bytes + (s[bytes] == ' ');
	}
	fputc('\n', out);
}

void term_moment(char dst[MOMENT_SIZE], int64_t us, int64_t now_us)
{
	time_t t = (time_t)(us / USEC_PER_SEC), now = (time_t)(now_us / USEC_PER_SEC);
	struct tm tm, today;
	long days;

	localtime_r(&t, &tm);
	localtime_r(&now, &today);
	days = (t + tm.tm_gmtoff) / 86400 - (now + today.tm_gmtoff) / 86400;
	if (days == 0)
		strftime(dst, MOMENT_SIZE, "%H:%M", &tm);
	else if (days > -7 && days < 7)
		strftime(dst, MOMENT_SIZE, "%a %H:%M", &tm);
	else if (days > -180 && days < 180)
		strftime(dst, MOMENT_SIZE, "%b %e %H:%M", &tm);
	else
		strftime(dst, MOMENT_SIZE, "%Y-%m-%d", &tm);
}
