/* Where plugin and core meet: one versioned table of C functions.
 *
 * The plugin opens the core library once per process (dlopen, never closed), looks up
 * tome_core_api(), and talks through the table only. No C++ type and no exception crosses.
 *
 * Ownership: what a function hands out through a pointer-to-pointer is released by its own release
 * function. Strings and arrays in a result live as long as the ticket; those in an info struct as
 * long as the model. Every function may be called from any thread unless it says otherwise.
 */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of this table. A new one leaves the library's soname at 0: tome_core_api() knows one version
 * only. */
#define TOME_CORE_API_VERSION 6u

typedef enum {
  TOME_OK = 0,
  TOME_ERROR_NOT_FOUND,
  TOME_ERROR_READ,
  TOME_ERROR_FORMAT,
  TOME_ERROR_SETTINGS,
  TOME_ERROR_DEVICE,
  TOME_ERROR_OUT_OF_MEMORY,
  TOME_ERROR_FAILED
} TomeStatus;

typedef struct {
  TomeStatus status;
  char message[2048];
} TomeError;

typedef enum { TOME_LOG_ERROR, TOME_LOG_WARNING, TOME_LOG_INFO, TOME_LOG_DEBUG } TomeLogLevel;
/* Called from any thread, by one at a time, with the log locked and maybe more: nothing of this
 * table may be called from it, for whatever logs would wait for itself. */
typedef void (*TomeLogFunction)(TomeLogLevel level, const char* text, void* user_data);

/* ---- models ---------------------------------------------------------------------------------- */

typedef struct TomeModel TomeModel;

typedef struct {
  const char* model;         /* folder in Hugging Face layout */
  const char* labels_file;   /* NULL: the folder's own */
  const char* device;        /* "auto", "cpu", "cuda", "cuda:1" */
  const char* precision;     /* "auto", "fp32", "bf16", "fp16", "int8" */
  const char* instance_id;   /* NULL or "": shared with every equal configuration of the process */
  uint32_t batch_size;       /* most requests in one forward, 1 to 1024 */
  uint32_t batch_timeout_ms; /* longest wait for a batch to fill, up to 3600000 */
  int32_t threads;           /* CPU threads of a forward, up to 1024; 0: one for each core */
  int32_t clip_length;       /* frames of one clip, up to 1024; 0: the model's own */
  int32_t input_width, input_height; /* pixels, up to 8192 each; both 0: the model's own */
} TomeModelConfig;

typedef struct {
  const char* name;
  const char* device;           /* as chosen: "cpu", "cuda:0" */
  const char* precision;        /* as chosen */
  const char* default_schedule; /* the r spec the model ships with */
  uint32_t classes, depth;
  uint32_t width, height;     /* input, pixels */
  uint32_t clip_length;       /* frames in one window: 1 for an image model without clip_length */
  uint32_t tubelet;           /* frames of one tubelet: 1 for an image model */
  uint32_t tokens;            /* unmerged tokens of one request */
  uint32_t is_clip_model;     /* 1 if trained on clips */
  uint32_t takes_cuda_frames; /* 1 if pixels may lie in memory of its CUDA device */
} TomeModelInfo;

/* ---- frames ---------------------------------------------------------------------------------- */

typedef enum {
  TOME_FORMAT_RGB,
  TOME_FORMAT_BGR,
  TOME_FORMAT_RGBX,
  TOME_FORMAT_BGRX,
  TOME_FORMAT_RGBA,
  TOME_FORMAT_BGRA,
  TOME_FORMAT_GRAY8,
  TOME_FORMAT_NV12,
  TOME_FORMAT_I420,
  TOME_FORMAT_YUY2,
  TOME_FORMAT_UYVY,
  TOME_FORMAT_P010
} TomePixelFormat;
typedef enum { TOME_MATRIX_BT601, TOME_MATRIX_BT709, TOME_MATRIX_BT2020 } TomeColorMatrix;
/* Unspecified: limited for YUV, full for grey. */
typedef enum { TOME_RANGE_UNSPECIFIED, TOME_RANGE_LIMITED, TOME_RANGE_FULL } TomeColorRange;
typedef enum { TOME_MEMORY_HOST, TOME_MEMORY_CUDA } TomeMemoryKind;

typedef struct {
  int32_t x, y, width, height; /* pixels; all four 0: the full frame */
} TomeRegion;

typedef struct {
  TomePixelFormat format;
  int32_t width, height;
  /* How wide a pixel is against its height; 0/0, and what makes no sense, is square (PixelAspect of
   * media/frame.h). Sizes and regions count stored pixels whatever it is. */
  int32_t pixel_aspect_n, pixel_aspect_d;
  const uint8_t* plane[3];
  int64_t stride[3];      /* bytes */
  uint64_t plane_size[3]; /* bytes readable from plane[i] */
  TomeColorMatrix matrix;
  TomeColorRange range;
  TomeMemoryKind memory;
  int32_t device;        /* CUDA device, for TOME_MEMORY_CUDA */
  void* producer_stream; /* CUstream, of the device's primary context, whose queued work writes the
                            pixels; NULL: they are written */
  int64_t pts;           /* nanoseconds, or -1 */
  int64_t duration;      /* nanoseconds, or -1 */
  int32_t discont;       /* 1: not a continuation of the frame before; a clip window starts anew */
  const TomeRegion* regions; /* NULL with n_regions = 0: the full frame */
  uint32_t n_regions;
  int64_t deadline;     /* CLOCK_MONOTONIC nanoseconds after which inference is pointless; 0: none.
                           Under overload a newer frame may take this one's place before */
  int32_t no_inference; /* 1: the caller asks to skip this frame (QoS); it still counts for
                           intervals and windows */
  /* Called exactly once, from any thread, as soon as the pixels have been read or the frame was
   * discarded, and always before its ticket is ready. Nothing of this table may be called from it:
   * it may run on the model's worker or inside submit, flush or stream_close, and what waits for
   * these (submit, ticket_wait, stream_close, the last model_release) would wait for itself.
   * NULL: nobody is told; the pixels must stay until the ticket is ready, or submit has failed. */
  void (*release)(void* release_data);
  void* release_data;
} TomeFrame;

/* ---- streams --------------------------------------------------------------------------------- */

typedef struct TomeStream TomeStream;
typedef struct TomeTicket TomeTicket;

typedef enum { TOME_PROP_ATTN_AUTO, TOME_PROP_ATTN_ON, TOME_PROP_ATTN_OFF } TomePropAttn;
typedef enum {
  TOME_ACTIVATION_AUTO,
  TOME_ACTIVATION_SOFTMAX,
  TOME_ACTIVATION_SIGMOID,
  TOME_ACTIVATION_NONE
} TomeActivation;

typedef struct {
  const char* name;     /* for messages; may be NULL */
  const char* schedule; /* r spec; NULL or "": the model's default */
  TomePropAttn prop_attn;
  uint32_t top_k;   /* >= 1 */
  double threshold; /* scores below are left out; 0: none is, negative logits neither */
  TomeActivation activation;
  uint32_t clip_stride;        /* frames between windows' starts; 0: clip length x frame stride */
  uint32_t frame_stride;       /* every n-th frame enters the window, >= 1 */
  uint32_t inference_interval; /* every n-th frame (or window, for clips) is classified, >= 1 */
  double smoothing;            /* exponential over results: weight of the past, [0, 1); 0: none.
                                  Of full frames and clips; each region stands alone, for the core
                                  does not know which object it shows */
  double static_threshold;     /* clips: merge patches that change by at most so many grey levels
                                  before the first block; negative: off */
  uint32_t max_pending; /* tickets not ready when submit blocks; 0: 2 x batch size + clip length */
} TomeStreamConfig;

typedef struct {
  int64_t id;
  const char* label;
  float score;
} TomeScore;

typedef struct {
  const TomeScore* scores; /* best first */
  uint32_t n_scores;
  TomeRegion region;                    /* as submitted; all 0: the full frame */
  int64_t clip_start_pts, clip_end_pts; /* nanoseconds; the frame's own for one frame; -1 unknown */
  uint32_t n_frames; /* frames looked at: 1, or those of the window; padding does not count */
  uint32_t tokens_in, tokens_out;
  uint32_t batch; /* requests in the same forward */
  double queue_ms, preprocess_ms, inference_ms;
} TomeResult;

typedef enum {
  TOME_TICKET_RESULT,    /* fresh results */
  TOME_TICKET_NONE,      /* nothing was due for this frame (interval, inside a window) */
  TOME_TICKET_SKIPPED,   /* due, but late (deadline, no_inference), or overload */
  TOME_TICKET_CANCELLED, /* stream flushed or closed */
  TOME_TICKET_FAILED     /* error says why */
} TomeOutcome;

typedef struct {
  uint32_t version;     /* TOME_CORE_API_VERSION */
  uint32_t struct_size; /* sizeof(TomeCoreApi) */

  /* Messages of the core; NULL silences them. Process-wide: the last caller's function has those of
   * all models and streams. When this returns the one before is not called any more. */
  void (*set_log)(TomeLogFunction function, void* user_data);

  /* Opens or shares a model (blocking: reads the weights). The same instance_id with another
   * configuration is TOME_ERROR_SETTINGS and names both. */
  TomeStatus (*model_acquire)(const TomeModelConfig* config, TomeModel** model, TomeError* error);
  void (*model_release)(TomeModel* model);
  void (*model_info)(TomeModel* model, TomeModelInfo* info);
  /* Nanoseconds that one full batch takes, preprocessing included: measured, at first by warm-up.
   */
  int64_t (*model_batch_duration)(TomeModel* model);
  /* Nanoseconds that a request of a stream with nothing else queued waits at most for its forward
   * to begin, with the streams that are open now and have not ended (drain): as many full batches
   * as serve each of them once.
   */
  int64_t (*model_longest_wait)(TomeModel* model);

  /* Blocks while the device measures what it has not yet for the stream's schedule, unless other
   * streams of the model run: on a CUDA device up to seconds. */
  TomeStatus (*stream_open)(TomeModel* model, const TomeStreamConfig* config, TomeStream** stream,
                            TomeError* error);
  /* Cancels what is pending, and waits until no forward computes and nobody reads pixels for the
   * stream. A ticket that another thread was settling at that moment, also by a flush, may become
   * ready only after this returns, and its frame be released only then: wait for the ticket where
   * that matters. No submit may be in progress or follow. */
  void (*stream_close)(TomeStream* stream);
  /* New r spec, from the next batch on. A bad spec changes nothing. */
  TomeStatus (*stream_set_schedule)(TomeStream* stream, const char* schedule, TomeError* error);
  /* New values of what TomeStreamConfig calls so, from the next frame that is submitted on; frames
   * submitted before keep theirs, and so does, maybe, one whose submit is in progress. The interval
   * counts from the last frame that was due: 1 to 5 leaves out four frames after it, 1000 to 2
   * makes the next frame due if at least one has come since. Of clips it counts windows in the same
   * way; one that has begun stays due or not. A value out of range is TOME_ERROR_SETTINGS, and
   * nothing changes. From any thread, also while submit blocks. */
  TomeStatus (*stream_adjust)(TomeStream* stream, uint32_t top_k, double threshold,
                              uint32_t inference_interval, TomeError* error);
  /* Effective r of each block for `schedule`, n <= depth values written, their sum returned; -1 on
   * error. */
  int64_t (*model_effective_r)(TomeModel* model, const char* schedule, int64_t* r, uint32_t n,
                               TomeError* error);

  /* Queues one frame; one thread at a time per stream. Blocks while max_pending tickets are not yet
   * ready; a flush unblocks it. On error no ticket is made and release has been called. */
  TomeStatus (*submit)(TomeStream* stream, const TomeFrame* frame, TomeTicket** ticket,
                       TomeError* error);
  /* End of stream: pads and classifies a window that has at least half its frames. *ticket is NULL
   * if there is none. Until the next submit no batch waits for the stream, and
   * model_longest_wait leaves it out once what it has queued has run. */
  TomeStatus (*drain)(TomeStream* stream, TomeTicket** ticket, TomeError* error);
  /* The caller has nothing more to submit until a ticket is ready, such as when upstream's buffers
   * are all in flight: what is queued does not wait for its batch to fill. Until the next submit.
   */
  void (*hurry)(TomeStream* stream);
  /* Cancels every pending ticket and empties the window; callable while submit or wait blocks. */
  void (*flush)(TomeStream* stream);

  /* Blocks until the ticket is ready. Results are valid until ticket_free. */
  TomeOutcome (*ticket_wait)(TomeTicket* ticket, const TomeResult** results, uint32_t* n_results,
                             TomeError* error);
  int (*ticket_ready)(TomeTicket* ticket);
  void (*ticket_free)(TomeTicket* ticket);
} TomeCoreApi;

/* The only symbol the plugin looks up. NULL for any version but the library's own: ask with
 * TOME_CORE_API_VERSION of the header that you were built with, and check for NULL. */
const TomeCoreApi* tome_core_api(uint32_t version);
typedef const TomeCoreApi* (*TomeCoreApiFunction)(uint32_t version);

#ifdef __cplusplus
}
#endif
