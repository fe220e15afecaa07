/* The optional CPU kernels of coopctx, compiled on first use (see compile.py): one translation unit, one header per subject.
 *
 * There are no globals and no threads. A call allocates one workspace, which it frees on return, or is given memory.
 * Functions return 0; 1 where memory could not be allocated; 2 for the errors that their comments name. */
#include "src/simd.h"
#include "src/cell.h"
#include "src/train.h"
#include "src/sequences.h"
#include "src/fit.h"
#include "src/rollouts.h"
#include "src/play.h"
#include "src/actor_critic.h"

EXPORT int coopctx_bf16(void) { return BF16; }
