"""Virtio devices: spec, queue, device, transport, and a file for each device. VIRTIO 1.2."""
