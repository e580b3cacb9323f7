package main

import "errors"

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return errors.Join()
}
