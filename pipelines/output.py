"""What a pipeline has put out, what is said beside that, and how a program ends when nobody reads."""
import os
import select
import signal

NOBODY_READS = -signal.SIGPIPE  # a status
MS = 1000000  # nanoseconds


def count_frames(classify):
    return classify.props.stats.get_uint64("frames").value


def forward_time(classify):
    """Of the usual batch, nanoseconds."""
    return int(classify.props.stats.get_double("inference-p50").value * MS)


def count_results(publish):
    return publish.props.stats.get_uint64("published").value


def number_of(count, what):
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def nobody_reads():
    """True if standard output is a pipe whose reader has gone, as after `| head -1`."""
    look = select.poll()
    look.register(1, 0)
    return any(events & select.POLLERR for _, events in look.poll(0))


def printable(text):
    """`text` with spaces for what does not print: it may come from a server or be a file's name, and a
    terminal obeys control characters."""
    text = text.encode(errors="replace").decode()
    return "".join(character if character.isprintable() else " " for character in text)


def write_words(text):
    """On standard error, which may be closed, full, or have no reader any more: no news then."""
    try:
        os.write(2, text.encode(errors="replace"))
    except OSError:
        pass


def say(script, text):
    write_words(f"{script}: {printable(text)}\n")
