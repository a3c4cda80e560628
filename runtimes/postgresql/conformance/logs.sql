-- result_collection=last_statement_first_row_scalar
do $$ begin
    for i in 1..3 loop
        raise notice 'out %', i;
        raise warning 'err %', i;
    end loop;
end $$;
select 'done'
