"""Files to arrays: images, annotations, superpixels, score maps, and the batches made of them."""
