/* The optional CPU kernels of coopctx, compiled on first use (see compile.py): one translation unit, one header a subject.
 *
 * No globals and no threads; every call takes one workspace, freed on return, or is given memory. Functions return 0, 1
 * without memory, or 2 where they say so. */
#include "src/simd.h"
#include "src/cell.h"
#include "src/train.h"
#include "src/fit.h"
#include "src/rollouts.h"
#include "src/play.h"
#include "src/improve.h"

EXPORT int coopctx_bf16(void) { return BF16; }
