// Keeps libraries off stderr while they decode pictures.
#pragma once

#include <streambuf>

namespace tome::cli {

// Note [Decoders that talk]
// libpng and libjpeg write what they think of damaged data to stderr, where `tome` promises one
// line of its own, and OpenCV leaves no way to stop them. While any thread decodes, file descriptor
// 2 leads nowhere. What the program itself says at that time, of other files and of its progress,
// goes through std::cerr, and OwnStderr gives that a descriptor of its own.

/// Opens what is closed of file descriptors 0 to 2, so that no file of ours becomes one of them: 2
/// is led elsewhere while decoders run, and written to by libraries. First thing in main().
void open_standard_files();

/// While there is one, nothing that is written to file descriptor 2 arrives. Thread-safe.
class QuietDecoders {
 public:
  QuietDecoders();
  ~QuietDecoders();
  QuietDecoders(const QuietDecoders&) = delete;
  QuietDecoders& operator=(const QuietDecoders&) = delete;
};

/// While it is there, std::cerr arrives wherever stderr led when it was made. One for the program,
/// before its threads.
class OwnStderr : private std::streambuf {
 public:
  OwnStderr();
  ~OwnStderr() override;
  OwnStderr(const OwnStderr&) = delete;
  OwnStderr& operator=(const OwnStderr&) = delete;

 private:
  int_type overflow(int_type c) override;
  std::streamsize xsputn(const char* text, std::streamsize count) override;

  int file_ = -1;
  std::streambuf* before_ = nullptr;
};

}  // namespace tome::cli
