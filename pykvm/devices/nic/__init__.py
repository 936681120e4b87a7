"""A mock of the Intel 82540EM: register file, data path, and the small parts around them.

Source: Intel PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual
(317453), cited as SDM 8254x.
"""
