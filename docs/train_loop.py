"""A custom training loop: jaxseg provides the state and the steps as pure functions.

python docs/train_loop.py    (about a minute on two CPU cores)
"""

import jax
import numpy as np
import optax

import jaxseg
from jaxseg.data import Augment, Scenes, eval_batches, train_batches

STEPS, SIZE, CLASSES = 120, (48, 48), 6

model = jaxseg.create_model(
    "fcn8s_vgg16", CLASSES, width=0.125, fc_channels=512, norm="batch", padding=1, dropout=0.1
)
optimizer = optax.adamw(optax.cosine_decay_schedule(5e-3, STEPS), weight_decay=1e-2)
state = jaxseg.create_state(model, optimizer, seed=0, image_size=SIZE, averaged=True)
loss = {"name": "cross_entropy+dice", "smoothing": 0.05}
train_step = jax.jit(
    jaxseg.make_train_step(model, optimizer, loss, ema=0.95), donate_argnames="state"
)
eval_step = jax.jit(jaxseg.make_eval_step(model))

# Any images, uint8 [N, H, W, 3], and labels, uint8 [N, H, W]; 255 marks unlabelled pixels.
scenes = Scenes(seed=0, count=512, size=SIZE)
batches = train_batches(scenes, seed=0, batch_size=8, augment=Augment(flip=0.5))
for step, batch in zip(range(1, STEPS + 1), batches, strict=False):
    state, metrics = train_step(state, batch.image, batch.label)
    if step % 20 == 0:
        print(f"step {step}: loss {metrics['loss']:.3f}, gradient {metrics['gradient_norm']:.2f}")
batches.close()

confusion = np.zeros([CLASSES, CLASSES], np.int32)
unseen = Scenes(seed=0, count=64, size=SIZE, stream="eval")
for batch in eval_batches(unseen, batch_size=8):
    confusion = eval_step(state.variables, batch.image, batch.label, confusion)
scores = jaxseg.metrics.scores(np.asarray(confusion))
print(f"mean IoU {scores['mean_iou']:.3f}, pixel accuracy {scores['pixel_accuracy']:.3f}")
