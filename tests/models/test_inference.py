"""Labels and log-probabilities do not depend on the batch."""

import torch

from elixir.models.classifier import CPU_BATCH, SmallResNet, classify, predict

CPU = torch.device("cpu")


def test_labels_are_those_of_the_log_probabilities():
    torch.manual_seed(0)
    net = SmallResNet(5, widths=(8, 12)).eval()
    images = torch.randint(256, (CPU_BATCH + 3, 3, 16, 16), dtype=torch.uint8)
    logp, features = classify(net, images, CPU)
    labels = predict(net, images, CPU)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, logp.argmax(1))
    assert features.shape == (CPU_BATCH + 3, 12)
    assert len(labels.unique()) > 1
    for row in (0, CPU_BATCH, CPU_BATCH + 2):
        assert torch.equal(classify(net, images[row : row + 1], CPU)[0][0], logp[row])
        assert predict(net, images[row : row + 1].float() / 255, CPU) == labels[row]
