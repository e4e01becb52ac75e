"""VGG16's convolutions (Simonyan and Zisserman 2015), which FCN and DeconvNet start with."""

VGG16 = (  # (block, convolutions, channels); 2×2 pooling with stride 2 after each block
    (1, 2, 64),
    (2, 2, 128),
    (3, 3, 256),
    (4, 3, 512),
    (5, 3, 512),
)
