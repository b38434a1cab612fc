//! What a compute kernel is: parameters, buffers, cost and code for each device.
